"""Checks of the machinery: against known targets, at learning rate 0, and of a model as it is on disk."""
