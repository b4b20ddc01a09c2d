"""The registration step."""
