"""Advice: which setting of an objective moves the policy as far as asked, on these very groups."""
