"""Arguments and files with which vLLM loads a model of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import Qwen3VLConfig

from vicur.config.prompts import PromptUse
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.modeling import Qwen3VLStudentConfig, read_config
from vicur.modeling.chat import Chat
from vicur.modeling.checkpoint import config_with_cue_recovery


def describe_student(config: TrainConfig, base: Path, chat: Chat, folder: Path) -> dict[str, Any]:
    """Write the student's configuration, tokenizer and image processor to ``folder``, and return the arguments of vLLM's engine.

    Raises:
        VicurError: if the model's context is too short for the longest prompt and response.
    """
    student = read_config(base)
    if config.effective.recovery and not isinstance(student, Qwen3VLStudentConfig):
        student = config_with_cue_recovery(student, config.recovery.module, im_start_token_id=chat.start_id)
    folder.mkdir(parents=True, exist_ok=True)
    student.save_pretrained(folder)
    chat.save(folder)
    # A load format of the plugin: the engine starts without weights and gets them at its first update.
    return {**_arguments(config, student, chat, "student"), "load_format": "vicur_awaited"}


def describe_teacher(config: TrainConfig, folder: Path, chat: Chat) -> dict[str, Any]:
    """Return the arguments of vLLM's engine for the teacher in ``folder``, whose weights vLLM loads itself.

    Raises:
        VicurError: as :func:`describe_student`.
    """
    return _arguments(config, read_config(folder), chat, "teacher")


def _arguments(config: TrainConfig, model: Qwen3VLConfig, chat: Chat, use: PromptUse) -> dict[str, Any]:
    # Scoring a prompt in vLLM samples one token after it, which needs room as well.
    length = config.max_prompt_tokens + config.rollout.max_new_tokens + 1
    limit = model.get_text_config().max_position_embeddings
    if length > limit:
        raise VicurError(
            f"the longest prompt and response need a context of {length} tokens, but the model supports {limit}.",
            where="training.max_prompt_tokens",
            remedy="Lower it, or training.rollout.max_new_tokens.",
        )
    from vicur_vllm import scoring_arguments

    return scoring_arguments(
        length,
        dtype="bfloat16" if config.mixed_precision == "bf16" else "float32",
        forbidden_ids=chat.forbidden_ids(model.get_text_config().vocab_size).tolist(),
        cue_recovery=isinstance(model, Qwen3VLStudentConfig),
        pixels=chat.pixel_range(use),
    )
