"""Stages of the pipeline: their table (``table``), running and caching (``runner``, ``cache``), sessions, events and code versions."""
