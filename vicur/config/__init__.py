"""Typed run configuration."""
