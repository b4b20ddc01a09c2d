"""On-policy distillation with a privileged teacher."""

from vicur.training.distill import TRAIN, TrainSummary, train

__all__ = ["TRAIN", "TrainSummary", "train"]
