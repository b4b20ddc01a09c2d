"""Trainings as TrainJobs: the pipeline's step creates a TrainJob, follows it to completion and collects the student."""
