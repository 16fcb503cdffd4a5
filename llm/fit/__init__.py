"""Whether a configuration fits the card that it names, and how long a step takes: worked out without a card."""
