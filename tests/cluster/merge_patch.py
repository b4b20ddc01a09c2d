"""JSON merge patches (RFC 7386), as the Kubernetes API applies them."""

from __future__ import annotations

from typing import Any


def merged(old: Any, patch: Any) -> Any:
    """Return ``old`` with a patch applied: objects are merged, null removes a field, anything else replaces it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
