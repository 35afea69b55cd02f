"""P6.5: auxiliary networks lost with the checkpoint, and numbers made up in their place."""
