"""Request limits of the server that this process belongs to, passed in an environment variable.

vLLM constructs the objects that enforce the limits, so they cannot be passed as arguments.
"""

from __future__ import annotations

import os
from functools import lru_cache

from vicur.config.serving import ServerLimits

VARIABLE = "VICUR_SERVER_LIMITS"
"""Environment variable with the limits as JSON."""


@lru_cache
def server_limits() -> ServerLimits:
    """Return the limits from the environment, or the defaults if the variable is not set."""
    return ServerLimits.model_validate_json(os.environ.get(VARIABLE) or "{}")
