"""Component ``preflight``."""
