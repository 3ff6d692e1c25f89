"""Measurements beside tests: speed, scale, stress, and what learned filters reach."""
