"""prime-rl: configuration, losses, logs and adapter."""
