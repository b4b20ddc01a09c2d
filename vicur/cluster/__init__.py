"""Running on Kubernetes: the form of a run, checks before it starts, training jobs, usage and notifications."""
