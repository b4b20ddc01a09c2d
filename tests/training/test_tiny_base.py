"""The tiny base: the shipped one has the default recipe, and a larger model can teach it."""

import json
from pathlib import Path

import pytest
import torch
from transformers import Qwen3VLForConditionalGeneration

from tests.training.factory import scenes
from vicur.config.base import BaseModelConfig
from vicur.config.teacher import OtherCheckpoint
from vicur.config.tiny_base import TinyBaseConfig, TinySizes
from vicur.config.training import TrainConfig
from vicur.config.validation import validated
from vicur.errors import VicurError
from vicur.modeling import read_config, save_model
from vicur.modeling.chat import Chat
from vicur.modeling.tiny.architecture import tiny_config
from vicur.training.preflight import require_fit
from vicur.training.tiny_base import recipe_examples

SHIPPED = BaseModelConfig().folder


def test_shipped_base_has_the_default_recipe_and_sizes() -> None:
    assert json.loads((SHIPPED / "vicur.json").read_text())["recipe"] == TinyBaseConfig().model_dump(mode="json")
    made, shipped = tiny_config(Chat.load(SHIPPED).tokenizer).to_dict(), read_config(SHIPPED).to_dict()
    differing = {key for key in made if made[key] != shipped[key]}
    assert differing <= {"architectures", "dtype"}


def test_larger_model_with_the_same_vocabulary_can_teach_the_shipped_one(tmp_path: Path) -> None:
    chat = Chat.load(SHIPPED)
    torch.manual_seed(0)
    larger = tiny_config(chat.tokenizer, TinySizes(hidden_size=128, heads=4, layers=6, vision_layers=3))
    save_model(Qwen3VLForConditionalGeneration(larger), tmp_path, chat_folder=SHIPPED)
    text = read_config(tmp_path).text_config
    assert (text.hidden_size, text.num_hidden_layers, text.num_attention_heads) == (128, 6, 4)
    config = TrainConfig.model_validate({"method": "opd", "teacher": {"type": "checkpoint", "path": tmp_path}})
    require_fit(config, {"base": SHIPPED, "teacher": tmp_path}, chat)


def test_shipped_teacher_is_larger_and_more_accurate_and_reads_the_same_input() -> None:
    teacher = OtherCheckpoint(path=Path("tiny-teacher")).folder
    records = {folder: json.loads((folder / "vicur.json").read_text()) for folder in (SHIPPED, teacher)}
    alone = {folder: record["test_accuracy"]["none"]["accuracy"] for folder, record in records.items()}
    assert records[teacher]["parameters"] > 2 * records[SHIPPED]["parameters"]
    assert alone[teacher] > alone[SHIPPED] + 0.05
    config = TrainConfig.model_validate({"method": "opd", "teacher": {"type": "checkpoint", "path": "tiny-teacher"}})
    require_fit(config, {"base": SHIPPED, "teacher": teacher}, Chat.load(SHIPPED))


def test_recipe_selects_pools_and_their_first_scenes() -> None:
    pools = {"base": scenes("base"), "distill": scenes("distill")}
    both = recipe_examples(pools, TinyBaseConfig(pools=("base", "distill")))
    assert both == [*pools["base"], *pools["distill"]]
    few = recipe_examples(pools, TinyBaseConfig(pools=("base", "distill"), scenes=5))
    groups = list(dict.fromkeys(example.group for example in few))
    assert groups == list(dict.fromkeys(example.group for example in both))[:5]
    assert recipe_examples(pools, TinyBaseConfig()) == list(pools["base"])


def test_heads_that_do_not_divide_the_hidden_size_are_rejected() -> None:
    with pytest.raises(VicurError, match="heads=5 does not divide hidden_size=96"):
        validated(TinyBaseConfig, {"sizes": {"heads": 5}}, "--set")
