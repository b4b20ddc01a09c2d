"""Steps of TRL's GOLD trainer, measured in a process of their own (started by ``benchmarks.train_step``).

GOLD is taken as a plain Hugging Face loop on policy: every batch sampled (``lmbda`` 1), reverse KL over the vocabulary (``beta`` 1), the
untempered distribution, and gradient checkpointing off, which by default also turns the KV cache off in its rollouts. It gives the teacher
the student's prompt; :class:`HintedGOLDTrainer` gives it one with the hint. :class:`TrimmedGOLDTrainer` shows what a few lines would save.
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
from vicur.cues.hints import with_hint
from vicur.data.schema import Example


class HintedGOLDTrainer(GOLDTrainer):  # type: ignore[misc]
    """GOLD with a teacher that is given the hint: its prompt is the row's ``teacher_text``. GOLD's own loss is left as it is."""

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns = [*self._signature_columns, "teacher_text"]

    def _generate_on_policy_vlm_slice(self, pending_slice: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        examples = pending_slice["_gold_vlm_on_policy_raw_examples"]
        told = self._vlm_collator([_told(example) for example in examples])
        made, texts = super()._generate_on_policy_vlm_slice(pending_slice)
        responses_BR = made["input_ids"][:, made["prompts"].shape[1] :]
        made["_teacher"] = {
            "input_ids": torch.cat([told["prompts"], responses_BR], dim=1),
            "attention_mask": torch.cat([told["prompt_attention_mask"], torch.ones_like(responses_BR)], dim=1),
            "mm_token_type_ids": torch.cat(
                [self._get_prompt_sequence_key(told, "mm_token_type_ids"), torch.zeros_like(responses_BR)], dim=1
            ),
        }
        return made, texts

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """GOLD's loss, with a teacher that reads its own prompt. Responses end both sequences, so cutting the longer one aligns them."""

        def read(_module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return given, {**named, **inputs["_teacher"]}

        def align(_module: Any, _given: Any, out: Any) -> None:
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
    """GOLD's loss without the positions of the prompt, which GOLD leaves out after it has computed their divergences."""

    @staticmethod
    def generalized_jsd_loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, **settings: Any) -> Tensor:
        first = int((labels != -100).any(0).nonzero()[0])
        loss: Tensor = GOLDTrainer.generalized_jsd_loss(
            student_logits[:, first:], teacher_logits[:, first:], labels[:, first:], **settings
        )
        return loss


class TrimmedGOLDTrainer(_TrimmedLoss, GOLDTrainer):  # type: ignore[misc]
    """GOLD with the trimmed loss."""


class TrimmedHintedGOLDTrainer(_TrimmedLoss, HintedGOLDTrainer):
    """Both."""


TRAINERS = {
    (False, False): GOLDTrainer,
    (False, True): HintedGOLDTrainer,
    (True, False): TrimmedGOLDTrainer,
    (True, True): TrimmedHintedGOLDTrainer,
}


def _told(example: dict[str, Any]) -> dict[str, Any]:
    """The example with the hint in its prompt, and an empty completion."""
    empty = [{"role": "assistant", "content": [{"type": "text", "text": ""}]}]
    return {**example, "prompt": _turn(example["teacher_text"]), "completion": empty}


def _turn(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": text}]}]


def _row(example: Example) -> dict[str, Any]:
    return {
        "prompt": _turn(example.question),
        "completion": [{"role": "assistant", "content": [{"type": "text", "text": example.answer}]}],
        "images": [{"bytes": image, "path": None} for image in example.images],
        "teacher_text": with_hint(example.question, str(example.cue)),
    }


def measure(case: Case, meter: Meter, *, trimmed: bool) -> None:
    """Makes the steps of ``case``, where asked with the trimmed loss."""
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
    """Responses never end, and hold no placeholder of an image: GOLD dies of one that the student happens to sample."""
    chat = EndlessChat.load(Path(case.folder))
    vocabulary = trainer.model.config.text_config.vocab_size
    trainer.generation_config.suppress_tokens = chat.forbidden_ids(vocabulary).tolist()
    trainer.generation_config.eos_token_id = None


class _Steps(TrainerCallback):  # type: ignore[misc]
    """Begins and ends the meter's steps."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def on_step_begin(self, *_args: Any, **_kwargs: Any) -> None:
        self._meter.begin()

    def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
        self._meter.end("student")


def _watch(trainer: GOLDTrainer, meter: Meter) -> None:
    """Tells the meter where a phase of a step ends."""
    prepare = trainer._prepare_inputs

    def watched(batch: Any) -> dict[str, Tensor]:
        made: dict[str, Tensor] = prepare(batch)
        meter.end("rollout")
        return made

    trainer._prepare_inputs = watched
    trainer.teacher_model.register_forward_pre_hook(lambda *_: meter.end("student"))
    trainer.teacher_model.register_forward_hook(lambda *_: meter.end("teacher"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    case, meter = Case(**json.loads(sys.argv[1])), Meter()
    measure(case, meter, trimmed="--trimmed" in sys.argv)
    meter.write(Path(sys.argv[2]), case.warm_up)
