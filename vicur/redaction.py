"""Mask secrets in everything that is stored or printed: parameters, tags, logs, summaries and error messages.

Most secrets are part of an address: ``postgresql://user:password@host/db``, ``https://token@host``, ``https://host/x?signature=...``.
"""

from __future__ import annotations

import re

_MASK = "***"
# Up to the last @ before the path, because a password may contain an unescaped @.
_USER_INFO = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?:[^\s/?#'\"]+|[^\s/:@'\"]+:[^\s@'\"]+)@", re.IGNORECASE)
_QUERY = re.compile(
    r"(?P<name>[?&;][\w.-]*(?:password|passwd|secret|token|signature|credential|api_?key|access_?key)[\w.-]*=)[^&;#\s'\"]+",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"(?P<name>\bauthorization['\"]?\s*[:=]\s*['\"]?(?:basic|bearer|token)\s+)[^\s'\"]+", re.IGNORECASE
)
_SECRET_NAME = re.compile(
    r"(?:^|[._/-])(?:password|passwd|secret|token|credentials?|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key)$",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """Mask user names, passwords and tokens of the addresses in a text."""
    text = _USER_INFO.sub(rf"\g<scheme>{_MASK}@", text)
    text = _QUERY.sub(rf"\g<name>{_MASK}", text)
    return _HEADER.sub(rf"\g<name>{_MASK}", text)


def sendable(secret: str) -> bool:
    """Return whether a key or token can be sent in an HTTP header."""
    # HTTP clients reject any other value with an error message that contains it.
    return re.fullmatch(r"[!-~]+", secret) is not None


def redacted_value(name: str, value: object) -> str:
    """Return a named value as text: masked completely if its name is that of a secret, otherwise with :func:`redacted`."""
    return _MASK if value is not None and _SECRET_NAME.search(name) else redacted(str(value))
