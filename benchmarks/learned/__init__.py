"""Learned filters beside tuned classical ones: `python -m benchmarks.learned STUDY`."""
