"""Kubernetes: what a run asks of a cluster, checks before it spends, and leaves behind."""
