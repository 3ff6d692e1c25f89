"""Scale: studies of many trajectories, their memory, and data larger than it: `python -m benchmarks.scale`."""
