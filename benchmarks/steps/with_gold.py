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
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration
from trl.experimental.gold import GOLDConfig, GOLDTrainer

from benchmarks.steps.case import LEARNING_RATE, Case
from benchmarks.steps.meter import Meter
from benchmarks.steps.with_trl import Steps, dataset_of, never_sampled, processor_of, settings_of, turn, watch


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
    return {**example, "prompt": turn(example["teacher_text"]), "completion": empty}


def measure(case: Case, meter: Meter, *, trimmed: bool) -> None:
    """Make the steps of ``case``."""
    student, teacher = (Qwen3VLForConditionalGeneration.from_pretrained(case.folder) for _ in range(2))
    with tempfile.TemporaryDirectory() as output:
        settings = GOLDConfig(
            **settings_of(case, output, LEARNING_RATE),
            max_length=None,
            lmbda=1.0,
            num_generations=1,
            use_uld_loss=False,
        )
        trainer = TRAINERS[trimmed, case.hint](
            model=student,
            teacher_model=teacher,
            args=settings,
            train_dataset=dataset_of(case),
            processing_class=processor_of(case),
            callbacks=[Steps(meter)],
        )
        vocabulary = trainer.model.config.text_config.vocab_size
        trainer.generation_config.suppress_tokens = never_sampled(case, vocabulary)
        trainer.generation_config.eos_token_id = None
        watch(trainer, trainer.teacher_model, meter)
        meter.trains(student.parameters())
        trainer.train()


if __name__ == "__main__":
    torch.set_num_threads(1)
    case, meter = Case(**json.loads(sys.argv[1])), Meter()
    measure(case, meter, trimmed="--trimmed" in sys.argv)
    meter.write(Path(sys.argv[2]), case.warm_up)
