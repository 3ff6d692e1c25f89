"""What learned filters reach, beside classical ones that are tuned: `python -m benchmarks.learned STUDY`."""
