"""Starts the server that a training's rollouts come from."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vicur.config.teacher import OtherCheckpoint, SelfFrozen
from vicur.config.training import TrainConfig
from vicur.config.vllm import Vllm
from vicur.errors import VicurError
from vicur.modeling.chat import Chat
from vicur.processes.ports import require_free
from vicur.processes.server_process import run_server
from vicur.training.rollout.build import require_vllm
from vicur.training.rollout.describe import describe_student, describe_teacher

# Its workers take weights on demand, and caches are dropped: vLLM has these endpoints for development only.
_ENVIRONMENT = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}


def serve(
    config: TrainConfig, folder: Path, host: str, port: int, extra: Sequence[str], *, teacher: bool = False
) -> int:
    """Runs ``vllm serve`` until it ends, or this process is told to.

    Args:
        config: settings of the training that will ask it.
        folder: what the student starts from, or the teacher's checkpoint.
        host, port: where it listens.
        extra: more arguments of ``vllm serve``.
        teacher: whether it is to score for the teacher, with the teacher's weights, rather than to draw rollouts with the student's.

    Returns:
        vLLM's exit status.

    Raises:
        VicurError: where there is no such teacher, vLLM or its plugin is missing, the address is taken, and where vLLM is killed.
    """
    if teacher:
        _require_lasting_teacher(config)
    require_vllm("vicur rollout-server")
    require_free(host, port, "vicur rollout-server")
    from vicur_vllm.arguments import flags
    from vicur_vllm.worker import EXCHANGE

    engine = config.rollout.engine
    exchange = engine.exchange if isinstance(engine, Vllm) else Vllm().exchange
    with tempfile.TemporaryDirectory(prefix="vicur-rollout-") as made:
        chat = Chat.load(folder)
        if teacher:
            arguments = describe_teacher(config, folder, chat)
        else:
            arguments, folder = describe_student(config, folder, chat, Path(made)), Path(made)
        arguments["additional_config"]["vicur"][EXCHANGE] = str(exchange)
        arguments |= {"worker_extension_cls": "vicur_vllm.worker.TakesWeights", "host": host, "port": port}
        arguments |= {"middleware": "vicur_vllm.rollout_gate.RolloutGate"}
        # The endpoint that takes tokens. Alone (--tokens-only) it has no tokenizer, and images cannot be prepared without.
        words = ["--model", str(folder), "--enable-scale-out", *flags(arguments), *extra]
        # What `vllm serve` runs; that command itself asks for a package that vLLM's CPU build does not call itself.
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words]
        return run_server(command, {**os.environ, **_ENVIRONMENT})


def _require_lasting_teacher(config: TrainConfig) -> None:
    if not isinstance(config.effective.teacher, SelfFrozen | OtherCheckpoint):
        raise VicurError(
            f"the method {config.method} has no teacher that stays as it is (training.teacher.type: {config.effective.teacher.type}).",
            where="vicur rollout-server --teacher",
            remedy="Name the training's --method, or its configuration: the teachers self-frozen and checkpoint score in vLLM.",
        )
