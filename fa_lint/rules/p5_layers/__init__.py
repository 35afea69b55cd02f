"""P5: alignment collapsed over layers."""
