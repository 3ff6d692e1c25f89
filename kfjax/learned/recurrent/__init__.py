"""Recurrent networks as filters."""
