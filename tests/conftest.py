"""One Hypothesis profile for every run: the same examples each time, and no deadline on a shared machine."""

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("ci")
