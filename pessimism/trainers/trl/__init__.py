"""TRL: configuration, losses, logs and adapter."""
