"""The vLLM server behind ``vicur rollout-server``."""

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
from vicur.processes.server_process import require_free_port, run_server
from vicur.training.rollout.build import require_vllm
from vicur.training.rollout.describe import describe_student, describe_teacher

# vLLM has the endpoints for updating weights and resetting caches in development mode only.
_ENVIRONMENT = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}


def serve(
    config: TrainConfig, base: Path, host: str, port: int, extra: Sequence[str], *, teacher: Path | None = None
) -> int:
    """Run ``vllm serve`` until it ends or this process gets SIGTERM or SIGINT, and return its exit status.

    Args:
        config: settings of the training that will use the server.
        base: the student's base, with the tokenizer and image processor of all prompts of the training.
        extra: more arguments of ``vllm serve``.
        teacher: the teacher's checkpoint, to score with its weights instead of sampling rollouts with the student's.

    Raises:
        VicurError: if the method has no such teacher, vLLM or its plugin is not installed, the address is in use, or vLLM is killed.
    """
    if teacher is not None:
        _require_frozen_teacher(config)
    require_vllm("vicur rollout-server")
    require_free_port(host, port, "vicur rollout-server")
    from vicur_vllm.arguments import flags
    from vicur_vllm.rollout_gate import EXCHANGE_VARIABLE
    from vicur_vllm.worker import EXCHANGE

    placed = config.engines.get("rollout" if teacher is None else "teacher")
    engine = Vllm() if placed is None else placed.settings
    # In a separate pod, a server does not have the folder of the training.
    exchange = engine.exchange if engine.exchange is not None and engine.exchange.is_dir() else Vllm().exchange
    if engine.tensor_parallel > 1:
        extra = ("--tensor-parallel-size", str(engine.tensor_parallel), *extra)
    with (
        tempfile.TemporaryDirectory(prefix="vicur-rollout-") as description,
        tempfile.TemporaryDirectory(prefix="vicur-exchange-", dir=exchange) as uploads,
    ):
        if engine.exchange is None:
            # The training sends all servers files of the same name, and another one may run on this machine.
            exchange = Path(uploads)
        chat = Chat.load(base, config.prompts)
        if teacher is None:
            folder = Path(description)
            arguments = describe_student(config, base, chat, folder)
        else:
            folder, arguments = teacher, describe_teacher(config, teacher, chat)
        arguments["additional_config"]["vicur"][EXCHANGE] = str(exchange)
        arguments |= {"worker_extension_cls": "vicur_vllm.worker.TakesWeights", "host": host, "port": port}
        arguments |= {"middleware": "vicur_vllm.rollout_gate.RolloutGate"}
        # --enable-scale-out adds the endpoint that takes token ids. With --tokens-only, the server would have no tokenizer, without which
        # it cannot prepare images.
        words = ["--model", str(folder), "--enable-scale-out", *flags(arguments), *extra]
        # The module behind `vllm serve`. That command imports a package that vLLM's CPU build does not depend on.
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words]
        return run_server(command, {**os.environ, **_ENVIRONMENT, EXCHANGE_VARIABLE: str(exchange)})


def _require_frozen_teacher(config: TrainConfig) -> None:
    teacher = config.effective.teacher
    if not isinstance(teacher, SelfFrozen | OtherCheckpoint):
        raise VicurError(
            f"vLLM can score for the teachers self-frozen and checkpoint, but method {config.method} has the teacher {teacher.type}.",
            where="vicur rollout-server --teacher",
            remedy="Pass the --method and --config of the training that will use the server.",
        )
