"""The exit step."""
