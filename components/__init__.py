"""The pipeline's steps: each a typed Kubeflow signature over one stage of ``vicur``."""
