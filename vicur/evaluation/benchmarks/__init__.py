"""The paper's benchmarks: staged from their own files, answered by the product, scored by their harness with a judge."""
