"""Where vLLM runs that takes part in a training: draws its rollouts, or scores for its teacher (docs/rollouts.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from vicur.config.base import Section
from vicur.redaction import redacted

KEY_VARIABLE = "VLLM_API_KEY"
"""Variable of the environment with the key that a server asks for, and that a training shows it."""


class Vllm(Section):
    """vLLM with the plugin of ``serving/``."""

    type: Literal["vllm"] = "vllm"
    placement: Literal["inside", "server"] = "inside"
    """``inside``: vLLM runs in the process that trains, and on its device. ``server``: it is a server of its own, on other devices."""
    cache_gb: float = Field(default=4.0, gt=0)
    """Gigabytes for the keys and values of an engine inside. Its weights take as much as the model's, in the type that it computes in."""
    url: str | None = None
    """Address of a server, such as ``http://127.0.0.1:8000``."""
    exchange: Path = Path("/dev/shm")  # noqa: S108 (shared memory, not a place for temporary files)
    """Folder that the training and a server both see, under one name: weights pass through it as a file, which is then removed. Inside,
    they pass through memory."""
    patience: float = Field(default=600.0, gt=0)
    """Seconds that a server may take for one answer."""

    @model_validator(mode="after")
    def _server_has_an_address(self) -> Self:
        if self.placement == "server" and self.url is None:
            raise ValueError("a server needs its address: set url, as in http://127.0.0.1:8000")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError("url is an address such as http://127.0.0.1:8000")
        if self.url is not None and redacted(self.url) != self.url:
            # A configuration is written to run folders, packages and logs.
            raise ValueError(
                f"url holds a password or a token: leave it out, and set {KEY_VARIABLE} in the environment"
            )
        if self.placement == "inside" and self.url is not None:
            raise ValueError("an engine inside the training has no address: set placement to server, or leave url out")
        return self
