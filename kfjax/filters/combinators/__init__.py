"""Filters made of filters."""
