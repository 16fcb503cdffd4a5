"""Runs code that a model wrote, in a process that can reach nothing, or not at all."""
