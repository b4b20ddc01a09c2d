"""What the measurements of TRL's trainers share: dataset, processor, and where the phases of their steps end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset, Image
from torch import Tensor
from transformers import AutoTokenizer, Qwen3VLProcessor, Qwen3VLVideoProcessor, TrainerCallback
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from benchmarks.steps.case import Case, EndlessChat, questions_of
from benchmarks.steps.meter import Meter
from vicur.cues.hints import HINT_MARKER
from vicur.data.schema import Example


def turn(text: str) -> list[dict[str, Any]]:
    """Return a question about an image as a conversation."""
    return [{"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": text}]}]


def dataset_of(case: Case) -> Dataset:
    """Return the rows of all steps. ``teacher_text`` is the question with the hint."""
    rows = [_row(example) for example in questions_of(case)]
    return Dataset.from_list(rows).cast_column("images", [Image()])


def processor_of(case: Case) -> Qwen3VLProcessor:
    """Return the processor of the case's model."""
    tokenizer = AutoTokenizer.from_pretrained(case.folder)
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessorPil.from_pretrained(case.folder),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(),
        chat_template=tokenizer.chat_template,
    )


def settings_of(case: Case, output: str, learning_rate: float) -> dict[str, Any]:
    """Return the settings that both trainers have: an on-policy loop in float32 on the CPU, without checkpoints and logs."""
    return {
        "output_dir": output,
        "max_steps": case.all_steps,
        "per_device_train_batch_size": case.batch_size,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "constant",
        "max_completion_length": case.new_tokens,
        "beta": 1.0,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        # It would also disable the KV cache.
        "gradient_checkpointing": False,
        "use_vllm": False,
        "use_cpu": True,
        "bf16": False,
        "dataloader_drop_last": True,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_strategy": "no",
    }


def never_sampled(case: Case, vocabulary: int) -> list[int]:
    """Return the ids that this project's trainer never samples: the end of a turn, and image placeholders."""
    return [int(each) for each in EndlessChat.load(Path(case.folder)).forbidden_ids(vocabulary)]


class Steps(TrainerCallback):  # type: ignore[misc]
    """Begins and ends the meter's steps."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def on_step_begin(self, *_args: Any, **_kwargs: Any) -> None:
        self._meter.begin()

    def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
        self._meter.end("student")


def watch(trainer: Any, teacher: Any, meter: Meter) -> None:
    """End the meter's phases at the borders of the trainer's phases. ``teacher`` is the module that scores."""
    prepare = trainer._prepare_inputs

    def metered(batch: Any) -> dict[str, Tensor]:
        inputs: dict[str, Tensor] = prepare(batch)
        meter.end("rollout")
        return inputs

    trainer._prepare_inputs = metered
    teacher.register_forward_pre_hook(lambda *_: meter.end("student"))
    teacher.register_forward_hook(lambda *_: meter.end("teacher"))


def _row(example: Example) -> dict[str, Any]:
    return {
        "prompt": turn(example.question),
        "completion": [{"role": "assistant", "content": [{"type": "text", "text": example.answer}]}],
        "images": [{"bytes": image, "path": None} for image in example.images],
        "teacher_text": f"{example.question}\n{HINT_MARKER} {example.cue}",
    }
