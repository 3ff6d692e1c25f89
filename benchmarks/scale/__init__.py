"""Scale: studies of many trajectories and data larger than memory: `python -m benchmarks.scale`."""
