"""verl: configuration, losses, logs and adapter."""
