"""The container image of all steps."""

import os

from vicur import __version__

IMAGE = os.environ.get("VICUR_IMAGE", f"vicur-python:{__version__}")
"""Image of all steps, with this package and its dependencies. It is read when components are imported (``vicur compile --image``)."""
