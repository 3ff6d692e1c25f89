"""Learned filters compared with tuned classical ones: `python -m benchmarks.learned STUDY`."""
