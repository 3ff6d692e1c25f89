"""Smoothers: beliefs given the whole record."""
