"""The comparison step."""
