"""Child processes, signals and the variables that torchrun sets."""
