"""Target, weight, lag and noise of an off-policy update taken apart, in bandits; see docs/experiment.md."""
