"""Analysis of linear models."""
