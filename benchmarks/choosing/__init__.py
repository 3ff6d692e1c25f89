"""Every filter on ten problems of different kinds: what the guide to choosing one rests on."""
