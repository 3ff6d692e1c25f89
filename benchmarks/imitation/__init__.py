"""Why a network does or does not learn to imitate a filter: the trainings behind notebook 05."""
