"""Measure steps of TRL's DistillationTrainer, in a process started by ``benchmarks.train_step``.

It always trains on policy. Here with reverse KL over the vocabulary (``beta`` 1), which it computes in tiles of tokens and vocabulary, and
temperature 1. It gives the teacher the student's prompt, so a subclass adds the hint.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration
from trl import DistillationConfig, DistillationTrainer

from benchmarks.steps.case import LEARNING_RATE, Case
from benchmarks.steps.meter import Meter
from benchmarks.steps.with_trl import Steps, dataset_of, never_sampled, processor_of, settings_of, turn, watch

_HINTED = ("input_ids", "attention_mask", "mm_token_type_ids")


class HintedDistillationTrainer(DistillationTrainer):  # type: ignore[misc]
    """DistillationTrainer with the hint in the teacher's prompt, which is the row's ``teacher_text``. The loss is its own."""

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns = [*self._signature_columns, "teacher_text"]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
        texts = [
            self.processing_class.apply_chat_template(turn(row["teacher_text"]), add_generation_prompt=True)
            for row in inputs
        ]
        images = [row["images"] for row in inputs]
        prompts = self.processing_class(images=images, text=texts, padding=True, return_tensors="pt")
        # Tensors with a row for each prompt: the trainer shuffles the rows of a batch.
        return {**batch, **{f"hinted_{name}": prompts[name] for name in _HINTED}}

    def _compute_loss(self, unwrapped_student: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> Any:
        responses_BR: Tensor = inputs["completion_ids"]
        extra = {
            "input_ids": responses_BR,
            "attention_mask": inputs["completion_mask"],
            "mm_token_type_ids": torch.zeros_like(responses_BR),
        }
        self._hinted = {name: torch.cat([inputs[f"hinted_{name}"], extra[name]], dim=1) for name in _HINTED}
        return super()._compute_loss(unwrapped_student, inputs, num_items_in_batch)

    def _get_last_hidden_state(
        self, unwrapped_model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, **named: Any
    ) -> Tensor:
        if unwrapped_model is self.accelerator.unwrap_model(self.teacher_model):
            input_ids, attention_mask = self._hinted["input_ids"], self._hinted["attention_mask"]
            named = {**named, "mm_token_type_ids": self._hinted["mm_token_type_ids"]}
        hidden: Tensor = super()._get_last_hidden_state(
            unwrapped_model, input_ids, attention_mask, logits_to_keep, **named
        )
        return hidden


def measure(case: Case, meter: Meter) -> None:
    """Make the steps of ``case``."""
    student, teacher = (Qwen3VLForConditionalGeneration.from_pretrained(case.folder) for _ in range(2))
    vocabulary = student.config.text_config.vocab_size
    with tempfile.TemporaryDirectory() as output:
        settings = DistillationConfig(
            **settings_of(case, output, LEARNING_RATE),
            generation_kwargs={"suppress_tokens": never_sampled(case, vocabulary), "eos_token_id": None},
        )
        trainer = (HintedDistillationTrainer if case.hint else DistillationTrainer)(
            model=student,
            teacher_model=teacher,
            args=settings,
            train_dataset=dataset_of(case),
            processing_class=processor_of(case),
            callbacks=[Steps(meter)],
        )
        # The loss projects the teacher's hidden states, which count for the student's phase, as both are projected together.
        watch(trainer, trainer.teacher_model.model, meter)
        meter.trains(student.parameters())
        trainer.train()


if __name__ == "__main__":
    torch.set_num_threads(1)
    case, meter = Case(**json.loads(sys.argv[1])), Meter()
    measure(case, meter)
    meter.write(Path(sys.argv[2]), case.warm_up)
