"""Measurements: speed, stress, and what learned filters reach."""
