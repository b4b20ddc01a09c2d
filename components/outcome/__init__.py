"""Component ``outcome``."""
