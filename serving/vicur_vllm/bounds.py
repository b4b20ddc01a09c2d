"""The limits of the server that this process belongs to. They come in its environment, since vLLM builds the parts that hold to them."""

from __future__ import annotations

import os
from functools import lru_cache

from vicur.config.serving import ServerLimits

VARIABLE = "VICUR_SERVER_LIMITS"
"""Variable of the environment that holds them, as JSON."""


@lru_cache
def server_limits() -> ServerLimits:
    """The limits of this process; the defaults where it was started without any."""
    return ServerLimits.model_validate_json(os.environ.get(VARIABLE) or "{}")
