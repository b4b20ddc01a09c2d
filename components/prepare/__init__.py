"""Component ``prepare``."""
