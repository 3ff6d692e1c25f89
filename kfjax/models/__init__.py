"""State-space models and what they are made of."""
