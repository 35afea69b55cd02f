"""P1: the order of a norm where a dimension was meant."""
