"""Small inputs for training tests: a few digit scenes and a tiny Qwen3-VL with random weights."""

from functools import cache
from pathlib import Path

import torch
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.base import BaseModelConfig
from vicur.config.data import DigitScenesConfig, Pool
from vicur.config.tiny_base import TinySizes
from vicur.config.training import TrainConfig
from vicur.data.digit_scenes import build_pools, vocabulary
from vicur.data.schema import Example
from vicur.modeling import save_model
from vicur.modeling.chat import Chat
from vicur.modeling.tiny.architecture import tiny_config, tiny_image_processor, tiny_tokenizer
from vicur.training.examples import TrainingExamples
from vicur.training.selection import training_examples
from vicur.training.state import TrainState, build_state
from vicur.training.world import World

SMALL = DigitScenesConfig(
    base=Pool(digits_per_class=2, scenes=4),
    distill=Pool(digits_per_class=4, scenes=8),
    validation=Pool(digits_per_class=2, scenes=4),
    test=Pool(digits_per_class=2, scenes=4),
    ood=Pool(digits_per_class=2, scenes=4),
)


@cache
def scenes(split: str) -> tuple[Example, ...]:
    return tuple(build_pools(SMALL, seed=0)[split])


def save_random_base(folder: Path, seed: int = 0, **sizes: int) -> Path:
    """Save a base with random weights, large enough for varied responses, and with the default sizes but these."""
    tokenizer = tiny_tokenizer(vocabulary())
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(tiny_config(tokenizer, TinySizes(**sizes))).eval()
    save_model(model, folder)
    Chat(tokenizer, tiny_image_processor()).save(folder)
    return folder


def state_for(
    base: Path,
    *,
    work: Path | None = None,
    world: World | None = None,
    **settings: object,
) -> TrainState:
    """Return the state that the training stage builds. A method whose teacher is another checkpoint gets the shipped base."""
    teacher_path = (
        {"teacher": {"type": "checkpoint", "path": BaseModelConfig().folder}}
        if settings.get("method") in ("opd", "opd-vicur")
        else {}
    )
    # Without a folder of its own, a test must not find cached features of another.
    no_cache = {} if work else {"features": {"disk_gb": 0}}
    config = TrainConfig.model_validate(
        {"batch_size": 4, **no_cache, "rollout": {"max_new_tokens": 8}, **teacher_path, **settings}
    )
    teacher = config.effective.teacher
    inputs = {"base": base, **({"teacher": teacher.folder} if teacher.type == "checkpoint" else {})}
    return build_state(
        config,
        inputs,
        Chat.load(base, config.prompts),
        seed=0,
        world=world or World.single("cpu"),
        work=work or base.parent / "work",
    )


def examples_for(state: TrainState) -> TrainingExamples:
    """Return the small distillation pool with the prompts of the state's method."""
    examples = scenes("distill")
    cues = {example.id: str(example.cue) for example in examples}
    return training_examples(examples, cues, state.chat, state.config)[0]
