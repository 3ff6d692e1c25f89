"""Learned gains: KalmanNet and its family."""
