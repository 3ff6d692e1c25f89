"""Structural time series beside statsmodels."""
