"""Measurements, which are not tests: speed, scale, stress, and what learned filters achieve."""
