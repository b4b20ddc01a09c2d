"""The evaluation step."""
