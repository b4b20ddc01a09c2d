"""Where an engine runs that takes part in a training: in its processes, as servers that start with it, or at an address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vicur.config.section import Section
from vicur.config.vllm import EXAMPLE_URL, Vllm

Placement = Literal["process", "job", "url"]
"""``process``: in the processes of the training, on their devices. ``job``: servers that are started, watched, restarted and removed with
the training, on separate devices. ``url``: servers that someone else runs, at ``engine.url``."""

# The values of the setting engine.placement, which this one replaces.
_FORMER = {"inside": "process", "server": "url"}


@dataclass(frozen=True)
class PlacedEngine:
    """A vLLM engine of a training with its placement."""

    placement: Placement
    settings: Vllm

    @property
    def devices(self) -> int:
        """Devices that its servers need in addition to those of the training's processes."""
        return self.settings.replicas * self.settings.tensor_parallel if self.placement == "job" else 0


def with_engine(values: Any, part: str) -> Any:
    """Return settings of a part of the training with vLLM as the engine if its placement needs servers and ``engine`` has no type.

    Raises:
        ValueError: if the engine has its former setting ``placement``.
    """
    if not isinstance(values, dict):
        return values
    engine = values.get("engine")
    if isinstance(engine, Mapping) and "placement" in engine:
        former = engine["placement"]
        raise ValueError(
            f"an engine no longer has a placement: remove it, and set training.{part}.placement to {_FORMER.get(former, former)}"
        )
    unset = engine is None or (isinstance(engine, Mapping) and "type" not in engine)
    if unset and values.get("placement") in ("job", "url"):
        return {**values, "engine": {"type": "vllm", **(engine or {})}}
    return values


def require_placed(placement: Placement, engine: Section, part: str) -> None:
    """Raise a ``ValueError`` if the engine of a part of the training cannot run where its placement says."""
    problem = None
    if not isinstance(engine, Vllm):
        if placement != "process":
            problem = f"which needs vLLM: set training.{part}.engine to vllm, or training.{part}.placement to process"
    elif placement == "url" and not engine.url:
        problem = f"but training.{part}.engine.url is not set: set it to the server's address, such as {EXAMPLE_URL}"
    elif placement != "url" and engine.url:
        problem = f"but training.{part}.engine.url is set: remove it, or set training.{part}.placement to url"
    elif placement == "url" and engine.replicas > 1:
        problem = f"so training.{part}.engine.replicas has no effect: remove it, and list all addresses in training.{part}.engine.url"
    elif placement != "job" and engine.replicas > 1:
        problem = (
            f"which has no replicas: remove training.{part}.engine.replicas, or set training.{part}.placement to job"
        )
    elif placement == "url" and engine.tensor_parallel > 1:
        problem = (
            f"so training.{part}.engine.tensor_parallel has no effect: remove it, and pass --tensor-parallel-size to "
            "vicur rollout-server after --"
        )
    if problem is not None:
        raise ValueError(f"placement is {placement}, {problem}")
