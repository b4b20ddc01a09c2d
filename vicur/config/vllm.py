"""A vLLM engine that takes part in a training: it samples rollouts or scores for the teacher (docs/rollouts.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from vicur.config.address import http_address
from vicur.config.section import Section

API_KEY_VARIABLE = "VLLM_API_KEY"
"""Environment variable with the API key of a vLLM server, read by the server and by the training."""
EXAMPLE_URL = "http://127.0.0.1:8000"


class Vllm(Section):
    """vLLM with the plugin of ``serving/``."""

    type: Literal["vllm"] = "vllm"
    cache_gb: float = Field(default=4.0, gt=0)
    """KV cache of an engine in the training's processes, in gigabytes. Its weights need memory as well: a second copy of the model."""
    url: tuple[str, ...] = ()
    """With placement ``url``, the address of a server, such as ``http://127.0.0.1:8000``, or a list of several with the same settings,
    among which requests are spread."""
    replicas: int = Field(default=1, ge=1, le=64)
    """With placement ``job``, the number of servers, among which requests are spread."""
    tensor_parallel: int = Field(default=1, ge=1, le=16)
    """Devices of one machine that an engine divides each layer among, for models that do not fit one."""
    start_minutes: float = Field(default=30.0, gt=0)
    """With placement ``job``, longest wait until a server answers, also after a restart: it loads a model and compiles kernels."""
    exchange: Path = Path("/dev/shm")  # noqa: S108 (shared memory, not a place for temporary files)
    """Folder that training and servers both reach under this path. Weights are passed to servers as a temporary file in it. (An engine
    in the training's processes gets them in memory.)"""
    patience: float = Field(default=600.0, gt=0)
    """Timeout for one request to a server, in seconds."""

    @field_validator("url", mode="before")
    @classmethod
    def _is_a_list(cls, url: Any) -> Any:
        if url is None:
            return ()
        return (url,) if isinstance(url, str) else url

    @field_validator("url")
    @classmethod
    def _are_addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            http_address(url, EXAMPLE_URL, API_KEY_VARIABLE)
        plain = [url.rstrip("/") for url in urls]
        if len(set(plain)) < len(plain):
            raise ValueError("contains an address twice")
        return urls
