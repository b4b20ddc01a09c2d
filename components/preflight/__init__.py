"""The base model step."""
