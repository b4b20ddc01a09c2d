"""Kubernetes: what a cluster must have for the pipeline. The client is imported where it is used."""
