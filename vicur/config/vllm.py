"""A vLLM engine that takes part in a training: it samples rollouts or scores for the teacher (docs/rollouts.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from vicur.config.address import http_address
from vicur.config.section import Section

API_KEY_VARIABLE = "VLLM_API_KEY"
"""Environment variable with the API key of a vLLM server, read by the server and by the training."""
_EXAMPLE = "http://127.0.0.1:8000"


class Vllm(Section):
    """vLLM with the plugin of ``serving/``."""

    type: Literal["vllm"] = "vllm"
    placement: Literal["inside", "server"] = "inside"
    """``inside``: vLLM runs in the training process, on its device. ``server``: it is a separate server, on other devices."""
    cache_gb: float = Field(default=4.0, gt=0)
    """KV cache of an engine inside, in gigabytes. Its weights need memory as well: a second copy of the model."""
    bucket_mb: int = Field(default=512, ge=1)
    """Largest bucket in which weights are gathered for vLLM after an update, in megabytes; a single larger weight is a bucket. A process
    holds about three buckets besides its share of the student."""
    sleep: bool = True
    """Whether an engine in the training's processes that samples rollouts frees its GPU memory during the update. Every update sends the
    weights again anyway."""
    tensor_parallel: int = Field(default=1, ge=1, le=16)
    """Devices of one machine that an engine divides each layer among, for models that do not fit one."""
    url: str | None = None
    """URL of a server, such as ``http://127.0.0.1:8000``."""
    exchange: Path = Path("/dev/shm")  # noqa: S108 (shared memory, not a place for temporary files)
    """Folder that training and server both reach under this path. Weights are passed to the server as a temporary file in it. (An engine
    inside gets them in memory.)"""
    patience: float = Field(default=600.0, gt=0)
    """Timeout for one request to a server, in seconds."""

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        return None if url is None else http_address(url, _EXAMPLE, API_KEY_VARIABLE)

    @model_validator(mode="after")
    def _url_fits_placement(self) -> Self:
        if self.placement == "server" and self.url is None:
            raise ValueError(
                f"placement is server, but url is not set: set it to the server's address, such as {_EXAMPLE}"
            )
        if self.placement == "inside" and self.url is not None:
            raise ValueError("url is set, but placement is inside: set placement to server, or remove url")
        return self
