"""Trainings on several nodes of a Kubernetes cluster."""

from vicur.cluster.reaper import reap
from vicur.cluster.training import LaunchedTraining, launch_training

__all__ = ["LaunchedTraining", "launch_training", "reap"]
