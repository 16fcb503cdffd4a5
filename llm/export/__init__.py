"""A configuration as the files of another trainer: verl, TRL or prime-rl."""
