"""Why a network does or does not learn to imitate a filter: the runs behind notebook 05."""
