"""Component ``benchmark_score``."""
