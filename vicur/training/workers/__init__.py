"""The processes of a distributed training: launch, follow and stop them."""
