"""Functions that pipeline components call: the stage step, the preflight step and the exit step."""
