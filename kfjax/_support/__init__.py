"""Private infrastructure, which does not depend on filters or models."""
