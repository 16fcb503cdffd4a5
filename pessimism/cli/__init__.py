"""The command ``pessimism``."""
