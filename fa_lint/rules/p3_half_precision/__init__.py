"""P3: fp16 around the gradient."""
