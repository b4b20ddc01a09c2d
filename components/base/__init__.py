"""Component ``base``."""
