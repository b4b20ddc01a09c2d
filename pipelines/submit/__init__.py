"""Run a package in a cluster: upload it to Kubeflow Pipelines, start a run, and follow the run to its end."""
