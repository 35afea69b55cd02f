"""P2: a floor under the cosine of small vectors, and derivatives that are not finite."""
