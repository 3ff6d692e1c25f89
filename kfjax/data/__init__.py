"""Trajectories as data: the container that evaluation and training work on."""

from kfjax.data.dataset import Dataset

__all__ = ["Dataset"]
