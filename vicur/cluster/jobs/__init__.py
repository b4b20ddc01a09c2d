"""Trainings on several nodes: the step makes a job of the cluster, follows it to its end, and hands on what it made."""
