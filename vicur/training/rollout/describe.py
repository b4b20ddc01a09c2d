"""What vLLM must know of a student before its weights come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vicur.config.training import TrainConfig
from vicur.modeling import Qwen3VLStudentConfig, read_config
from vicur.modeling.chat import Chat
from vicur.modeling.checkpoint import config_with_cue_recovery


def describe(config: TrainConfig, base: Path, chat: Chat, folder: Path) -> dict[str, Any]:
    """Writes the student's configuration, tokenizer and image processor to ``folder``, a checkpoint without weights.

    Args:
        config: settings of the training.
        base: what the student starts from.
        chat: its chat.
        folder: where to.

    Returns:
        Arguments of vLLM's engine.
    """
    from vicur_vllm import scoring_arguments

    student = read_config(base)
    if config.effective.recovery and not isinstance(student, Qwen3VLStudentConfig):
        student = config_with_cue_recovery(student, config.recovery.module, im_start_token_id=chat.start_id)
    folder.mkdir(parents=True, exist_ok=True)
    student.save_pretrained(folder)
    chat.save(folder)
    return scoring_arguments(
        config.max_prompt_tokens + config.rollout.max_new_tokens,
        dtype="bfloat16" if config.mixed_precision == "bf16" else "float32",
        forbidden_ids=chat.forbidden_ids(student.get_text_config().vocab_size).tolist(),
        cue_recovery=isinstance(student, Qwen3VLStudentConfig),
    )
