"""Runs in a cluster: upload a package to Kubeflow Pipelines, start a run of it, and follow that to its true end."""
