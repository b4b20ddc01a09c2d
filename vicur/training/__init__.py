"""On-policy distillation with a privileged teacher."""

from vicur.training.train import TRAIN, TrainSummary, train

__all__ = ["TRAIN", "TrainSummary", "train"]
