"""The container image that every step runs in."""

import os

from vicur import __version__

IMAGE = os.environ.get("VICUR_IMAGE", f"vicur-python:{__version__}")
"""Image of all steps: it holds this package and what it needs. Set when components are imported (``vicur compile --image``)."""
