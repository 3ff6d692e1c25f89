"""Infrastructure that knows no filter."""
