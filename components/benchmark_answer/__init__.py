"""Component ``benchmark_answer``."""
