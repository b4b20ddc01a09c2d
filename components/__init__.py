"""Components of the pipelines: one folder per step, each a KFP signature around one function of ``vicur.steps``."""
