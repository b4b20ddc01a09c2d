"""Measure steps of TRL's GOLD trainer, in a process started by ``benchmarks.train_step``.

GOLD is configured as an on-policy loop: every batch sampled (``lmbda`` 1), reverse KL over the vocabulary (``beta`` 1), temperature 1, and
no gradient checkpointing, which would also disable the KV cache. It gives the teacher the student's prompt.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, Image
from torch import Tensor
from transformers import (
    AutoTokenizer,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    TrainerCallback,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from trl.experimental.gold import GOLDConfig, GOLDTrainer

from benchmarks.steps.case import LEARNING_RATE, Case, EndlessChat, questions
from benchmarks.steps.meter import Meter
from vicur.cues.hints import HINT_MARKER
from vicur.data.schema import Example


class HintedGOLDTrainer(GOLDTrainer):  # type: ignore[misc]
    """GOLD with the hint in the teacher's prompt, which is the row's ``teacher_text``. The loss is GOLD's own."""

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns = [*self._signature_columns, "teacher_text"]

    def _generate_on_policy_vlm_slice(self, pending_slice: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        examples = pending_slice["_gold_vlm_on_policy_raw_examples"]
        hinted = self._vlm_collator([_hinted(example) for example in examples])
        batch, texts = super()._generate_on_policy_vlm_slice(pending_slice)
        responses_BR = batch["input_ids"][:, batch["prompts"].shape[1] :]
        batch["_teacher"] = {
            "input_ids": torch.cat([hinted["prompts"], responses_BR], dim=1),
            "attention_mask": torch.cat([hinted["prompt_attention_mask"], torch.ones_like(responses_BR)], dim=1),
            "mm_token_type_ids": torch.cat(
                [self._get_prompt_sequence_key(hinted, "mm_token_type_ids"), torch.zeros_like(responses_BR)], dim=1
            ),
        }
        return batch, texts

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        # Hooks replace the teacher's input and cut its output.
        def read(_module: Any, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return args, {**named, **inputs["_teacher"]}

        def align(_module: Any, _args: Any, out: Any) -> None:
            # Both sequences end with the response, so cutting the longer one at its start aligns them.
            out.logits = out.logits[:, -inputs["input_ids"].shape[1] :]

        hooks = [
            self.teacher_model.register_forward_pre_hook(read, with_kwargs=True),
            self.teacher_model.register_forward_hook(align),
        ]
        try:
            return super().compute_loss(model, inputs, *args, **kwargs)
        finally:
            for hook in hooks:
                hook.remove()


class _TrimmedLoss:
    """GOLD's loss without the positions of the prompt, which GOLD drops only after it has computed their divergences."""

    @staticmethod
    def generalized_jsd_loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, **settings: Any) -> Tensor:
        first = int((labels != -100).any(0).nonzero()[0])
        loss: Tensor = GOLDTrainer.generalized_jsd_loss(
            student_logits[:, first:], teacher_logits[:, first:], labels[:, first:], **settings
        )
        return loss


class TrimmedGOLDTrainer(_TrimmedLoss, GOLDTrainer):  # type: ignore[misc]
    pass


class TrimmedHintedGOLDTrainer(_TrimmedLoss, HintedGOLDTrainer):
    pass


TRAINERS = {
    (False, False): GOLDTrainer,
    (False, True): HintedGOLDTrainer,
    (True, False): TrimmedGOLDTrainer,
    (True, True): TrimmedHintedGOLDTrainer,
}


def _hinted(example: dict[str, Any]) -> dict[str, Any]:
    """Return the example with the hint in its prompt and an empty completion."""
    empty = [{"role": "assistant", "content": [{"type": "text", "text": ""}]}]
    return {**example, "prompt": _turn(example["teacher_text"]), "completion": empty}


def _turn(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": text}]}]


def _row(example: Example) -> dict[str, Any]:
    return {
        "prompt": _turn(example.question),
        "completion": [{"role": "assistant", "content": [{"type": "text", "text": example.answer}]}],
        "images": [{"bytes": image, "path": None} for image in example.images],
        "teacher_text": f"{example.question}\n{HINT_MARKER} {example.cue}",
    }


def measure(case: Case, meter: Meter, *, trimmed: bool) -> None:
    """Make the steps of ``case``."""
    tokenizer = AutoTokenizer.from_pretrained(case.folder)
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessorPil.from_pretrained(case.folder),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(),
        chat_template=tokenizer.chat_template,
    )
    rows = [_row(example) for example in questions(case.batch_size * case.all_steps)]
    dataset = Dataset.from_list(rows).cast_column("images", [Image()])
    student, teacher = (Qwen3VLForConditionalGeneration.from_pretrained(case.folder) for _ in range(2))
    with tempfile.TemporaryDirectory() as output:
        settings = GOLDConfig(
            output_dir=output,
            max_steps=case.all_steps,
            per_device_train_batch_size=case.batch_size,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            max_completion_length=case.new_tokens,
            max_length=None,
            lmbda=1.0,
            beta=1.0,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            num_generations=1,
            gradient_checkpointing=False,
            use_vllm=False,
            use_uld_loss=False,
            use_cpu=True,
            bf16=False,
            dataloader_drop_last=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
        )
        trainer = TRAINERS[trimmed, case.hint](
            model=student,
            teacher_model=teacher,
            args=settings,
            train_dataset=dataset,
            processing_class=processor,
            callbacks=[_Steps(meter)],
        )
        _sample_as_vicur_does(trainer, case)
        _watch(trainer, meter)
        trainer.train()


def _sample_as_vicur_does(trainer: GOLDTrainer, case: Case) -> None:
    """Never sample the end of a turn, nor image placeholders, which make GOLD fail."""
    chat = EndlessChat.load(Path(case.folder))
    vocabulary = trainer.model.config.text_config.vocab_size
    trainer.generation_config.suppress_tokens = chat.forbidden_ids(vocabulary).tolist()
    trainer.generation_config.eos_token_id = None


class _Steps(TrainerCallback):  # type: ignore[misc]
    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def on_step_begin(self, *_args: Any, **_kwargs: Any) -> None:
        self._meter.begin()

    def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
        self._meter.end("student")


def _watch(trainer: GOLDTrainer, meter: Meter) -> None:
    """End the meter's phases at the borders of GOLD's phases."""
    prepare = trainer._prepare_inputs

    def metered(batch: Any) -> dict[str, Tensor]:
        inputs: dict[str, Tensor] = prepare(batch)
        meter.end("rollout")
        return inputs

    trainer._prepare_inputs = metered
    trainer.teacher_model.register_forward_pre_hook(lambda *_: meter.end("student"))
    trainer.teacher_model.register_forward_hook(lambda *_: meter.end("teacher"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    case, meter = Case(**json.loads(sys.argv[1])), Meter()
    measure(case, meter, trimmed="--trimmed" in sys.argv)
    meter.write(Path(sys.argv[2]), case.warm_up)
