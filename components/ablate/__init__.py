"""Component ``ablate``."""
