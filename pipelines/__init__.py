"""The pipelines: their shared graph, packages for a cluster, and local runs."""
