"""Small real things to train with: a few digit scenes and a tiny Qwen3-VL with random weights."""

from functools import cache
from pathlib import Path

import torch
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.data import DigitScenesConfig, Pool
from vicur.config.training import TrainConfig, method_named
from vicur.data.digit_scenes import build_pools, vocabulary
from vicur.data.schema import Example
from vicur.modeling import load_model, save_model, with_cue_recovery
from vicur.modeling.chat import Chat
from vicur.modeling.tiny.architecture import tiny_config, tiny_image_processor, tiny_tokenizer
from vicur.training.examples import TrainingExample, training_examples
from vicur.training.features import FrozenFeatures
from vicur.training.step import Learner

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


def save_random_base(folder: Path) -> Path:
    """A base with random weights: large enough that it answers with varied tokens."""
    tokenizer = tiny_tokenizer(vocabulary())
    torch.manual_seed(0)
    model = Qwen3VLForConditionalGeneration(tiny_config(tokenizer)).eval()
    save_model(model, folder)
    Chat(tokenizer, tiny_image_processor()).save(folder)
    return folder


def learner_for(base: Path, **settings: object) -> Learner:
    """What the training stage builds, from a base folder."""
    config = TrainConfig.model_validate({"batch_size": 4, "rollout": {"max_new_tokens": 8}, **settings})
    chat = Chat.load(base)
    teacher = load_model(base).requires_grad_(requires_grad=False)
    student = load_model(base)
    if method_named(config.method).recovery:
        student = with_cue_recovery(student, config.recovery, 0, im_start_token_id=chat.start_id)
    student.model.visual.requires_grad_(requires_grad=config.train_vision)
    trainable = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=config.learning_rate, weight_decay=config.weight_decay)
    return Learner(student, teacher, FrozenFeatures(teacher), chat, optimizer, config, seed=0)


def taught(learner: Learner) -> list[TrainingExample]:
    """The small distillation pool, with the hints of the learner's method."""
    examples = scenes("distill")
    cues = {example.id: str(example.cue) for example in examples}
    return training_examples(examples, cues, method_named(learner.config.method), learner.chat, learner.config)[0]
