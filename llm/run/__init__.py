"""A run from its start to its end: loop, schedule, data and checkpoints on disk, numbers written down."""
