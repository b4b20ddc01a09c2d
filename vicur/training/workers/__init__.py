"""The worker processes of a distributed training."""
