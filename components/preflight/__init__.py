"""The first step."""
