"""Component ``register``."""
