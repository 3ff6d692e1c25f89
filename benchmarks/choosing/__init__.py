"""Every filter on ten problems of different kinds: the data behind the guide to choosing one."""
