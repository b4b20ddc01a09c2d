"""Where vLLM runs that takes part in a training: draws its rollouts, or scores for its teacher (docs/rollouts.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from vicur.config.address import http_address
from vicur.config.section import Section

API_KEY_VARIABLE = "VLLM_API_KEY"
"""Variable of the environment with the key that a server asks for, and that a training shows it."""
_EXAMPLE = "http://127.0.0.1:8000"


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

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        return None if url is None else http_address(url, _EXAMPLE, API_KEY_VARIABLE)

    @model_validator(mode="after")
    def _server_has_an_address(self) -> Self:
        if self.placement == "server" and self.url is None:
            raise ValueError(f"a server needs its address: set url, as in {_EXAMPLE}")
        if self.placement == "inside" and self.url is not None:
            raise ValueError("an engine inside the training has no address: set placement to server, or leave url out")
        return self
