"""Component ``extract``."""
