"""Routines for small dense matrices, among which `kfjax.linalg` chooses by size."""
