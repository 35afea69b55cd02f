"""P4: feedback that is not the one of the training run."""
