"""Component ``train``."""
