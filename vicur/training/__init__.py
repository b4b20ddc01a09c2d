"""On-policy distillation with a privileged teacher."""

from vicur.training.course import TrainSummary
from vicur.training.train import TRAIN, train

__all__ = ["TRAIN", "TrainSummary", "train"]
