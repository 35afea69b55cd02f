"""P7: a measurement of another computation."""
