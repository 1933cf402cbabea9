"""Training: the loop, what it optimises, and how it survives being stopped."""
