"""Many runs side by side: studies as data, and what computes them."""
