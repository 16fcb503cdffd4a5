"""One optimizer step: batches, losses, a policy's log-probabilities, what a step says about theory."""
