"""Files, JSON, names that users write, hints and the terminal: what touches the world outside."""
