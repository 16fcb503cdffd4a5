"""Trinity-RFT: configuration, losses, logs and adapter."""
