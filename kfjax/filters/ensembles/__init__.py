"""Ensemble Kalman filters."""
