"""What vLLM must know of a model that takes part in a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import Qwen3VLConfig

from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.modeling import Qwen3VLStudentConfig, read_config
from vicur.modeling.chat import Chat
from vicur.modeling.checkpoint import config_with_cue_recovery


def describe_student(config: TrainConfig, base: Path, chat: Chat, folder: Path) -> dict[str, Any]:
    """Writes the student's configuration, tokenizer and image processor to ``folder``: a checkpoint whose weights come later.

    Args:
        config: settings of the training.
        base: what the student starts from.
        chat: its chat.
        folder: where to.

    Returns:
        Arguments of vLLM's engine.

    Raises:
        VicurError: where it has no room for prompts and responses as long as the settings say.
    """
    student = read_config(base)
    if config.effective.recovery and not isinstance(student, Qwen3VLStudentConfig):
        student = config_with_cue_recovery(student, config.recovery.module, im_start_token_id=chat.start_id)
    folder.mkdir(parents=True, exist_ok=True)
    student.save_pretrained(folder)
    chat.save(folder)
    return {**_arguments(config, student, chat), "load_format": "vicur_awaited"}


def describe_teacher(config: TrainConfig, folder: Path, chat: Chat) -> dict[str, Any]:
    """Arguments of vLLM's engine for the teacher in ``folder``, which it loads itself.

    Raises:
        VicurError: as :func:`describe_student` does.
    """
    return _arguments(config, read_config(folder), chat)


def _arguments(config: TrainConfig, model: Qwen3VLConfig, chat: Chat) -> dict[str, Any]:
    # vLLM wants room for a token after a prompt that it scores.
    length, takes = (
        config.max_prompt_tokens + config.rollout.max_new_tokens + 1,
        model.get_text_config().max_position_embeddings,
    )
    if length > takes:
        raise VicurError(
            f"prompt and response may have {length} tokens, and vLLM gives the model no more than {takes}, for which it is made.",
            where="training.max_prompt_tokens",
            remedy="Lower it, or training.rollout.max_new_tokens.",
        )
    from vicur_vllm import scoring_arguments

    return scoring_arguments(
        length,
        dtype="bfloat16" if config.mixed_precision == "bf16" else "float32",
        forbidden_ids=chat.forbidden_ids(model.get_text_config().vocab_size).tolist(),
        cue_recovery=isinstance(model, Qwen3VLStudentConfig),
    )
