"""A tiny base for a dataset of another domain: it answers better than chance, and better still with a hint."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.training.shapes import shape_examples, write_shapes
from vicur.cli import app
from vicur.config.base import model_folder
from vicur.config.tiny_base import DatasetBaseConfig, TinySizes
from vicur.config.validation import validated
from vicur.cues.audit import AuditedCue
from vicur.cues.store import write_cues
from vicur.data import dvc_hash, read_examples
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.modeling import load_model
from vicur.modeling.chat import Chat
from vicur.modeling.tiny.architecture import SPECIAL_TOKENS, tiny_image_processor
from vicur.modeling.tiny.byte_tokenizer import byte_tokenizer
from vicur.stage.events import Events, read_events
from vicur.storage.folders import tree_sha256
from vicur.training.dataset_base import train_dataset_base
from vicur.training.dataset_base_examples import response, texts, training_part

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {
    "sizes": TinySizes(
        hidden_size=64,
        intermediate_size=128,
        heads=2,
        layers=2,
        vision_hidden_size=32,
        vision_intermediate_size=64,
        vision_heads=2,
    ),
    "min_pixels": 32 * 32,
    "max_pixels": 48 * 48,
    "vocabulary": 400,
    "batch_size": 16,
    "warmup_steps": 10,
    "checked": 100,
}
"""About ten milliseconds a step."""
TOKENIZER = byte_tokenizer(texts(shape_examples("distill", 20)), 400, longest=512)
CHAT = Chat(TOKENIZER, tiny_image_processor())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes") / "data", distill=300, validation=60, test=5)


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("base")
    events = Events("base", folder / "events.jsonl")
    recipe = DatasetBaseConfig(steps=100, vision_steps=60, **SMALL)
    return folder, train_dataset_base(recipe, dataset, folder / "model", events)


def test_base_beats_the_commonest_answer_and_is_better_with_a_hint(trained: tuple[Path, dict[str, Any]]) -> None:
    checked = trained[1]["checked"]
    accuracy = checked["accuracy"]
    assert checked["split"] == "validation"
    # Chance is 0.29: four colours, three shapes.
    assert accuracy["none"] > max(0.38, checked["most_frequent_answer"] + 0.1)
    assert min(accuracy["cue"], accuracy["answer"]) > accuracy["none"] + 0.2
    assert "solution" not in accuracy  # the examples have no reference response


def test_base_is_a_checkpoint_with_its_recipe_and_dataset(trained: tuple[Path, dict[str, Any]], dataset: Path) -> None:
    folder, record = trained
    assert json.loads((folder / "model" / "vicur.json").read_text()) == json.loads(json.dumps(record))
    assert record["dataset"]["hash"] == dvc_hash(dataset).md5
    assert len(Chat.load(folder / "model").encode_text(" colour triangle")) == 2
    assert str(load_model(folder / "model").dtype) == "torch.float32"


def test_progress_counts_all_steps_and_estimates_the_rest(trained: tuple[Path, dict[str, Any]]) -> None:
    events = [event for event in read_events(trained[0] / "events.jsonl")[0] if event.status == "progress"]
    assert {event.total for event in events} == {160}
    assert events[-1].done == 160
    assert any("left" in event.text for event in events)


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "data", distill=12, validation=2)
    made = {}
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        recipe = DatasetBaseConfig(steps=2, vision_steps=2, seed=seed, share=1, **{**SMALL, "checked": 2})
        train_dataset_base(recipe, data, tmp_path / name, Events("base", None))
        made[name] = (tmp_path / name / "model.safetensors").read_bytes()
    assert made["first"] == made["again"] != made["other"]
    tokenizers = {name: (tmp_path / name / "tokenizer.json").read_bytes() for name in made}
    assert len(set(tokenizers.values())) == 1


def test_split_base_is_used_if_there_is_one_and_else_whole_groups_of_distill(tmp_path: Path, dataset: Path) -> None:
    own = write_shapes(tmp_path / "own", base=5, distill=20, test=5)
    split, examples = training_part(own, DatasetBaseConfig())
    assert (split, len(examples)) == ("base", 10)
    split, half = training_part(dataset, DatasetBaseConfig())
    assert split == "distill"
    assert 0.4 < len(half) / 600 < 0.6
    groups = {example.group for example in half}
    assert len(half) == 2 * len(groups)  # both questions about each picture
    less = training_part(dataset, DatasetBaseConfig(share=0.25))[1]
    assert {example.group for example in less} < groups
    few = training_part(dataset, DatasetBaseConfig(max_examples=20))[1]
    assert len(few) == 20
    assert [example.id for example in few] == [e.id for e in half if e.id in {f.id for f in few}]


def test_dataset_without_training_examples_is_rejected(tmp_path: Path) -> None:
    only_test = write_shapes(tmp_path / "data", test=2)
    with pytest.raises(VicurError, match="neither a split base nor a split distill to train on, but test"):
        training_part(only_test, DatasetBaseConfig())
    with pytest.raises(VicurError, match=r"selects none of the 2 examples"):
        training_part(write_shapes(tmp_path / "one", distill=1), DatasetBaseConfig(share=0.001))


def test_examples_that_are_too_long_are_left_out_and_none_left_is_an_error(tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "data", base=4, test=2)
    recipe = DatasetBaseConfig(steps=1, vision_steps=1, **{**SMALL, "vocabulary": 300}, max_tokens=64)
    with pytest.raises(VicurError, match=r"whose prompt and response fit into 64 tokens; the shortest has up to \d+"):
        train_dataset_base(recipe, data, tmp_path / "model", Events("base", None))
    assert not (tmp_path / "model").exists()


def test_response_is_the_reference_else_rationale_and_answer_else_the_answer() -> None:
    example = shape_examples("distill", 1)[0]
    assert response(example).endswith(f"{example.rationale}\nAnswer: {example.answer}")
    assert response(example.model_copy(update={"rationale": None})) == f"Answer: {example.answer}"
    reference = example.model_copy(update={"metadata": {"reference": "See: red. Answer: red"}})
    assert response(reference) == "See: red. Answer: red"


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
@settings(deadline=None)
def test_tokenizer_spells_every_text_and_decodes_it_exactly(text: str) -> None:
    ids = CHAT.encode_text(text)
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == text
    assert not set(ids) & set(TOKENIZER.all_special_ids)


def test_control_tokens_in_text_stay_text_and_each_digit_is_a_token() -> None:
    special = {TOKENIZER.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    assert not set(CHAT.encode_text("".join(SPECIAL_TOKENS))) & special
    assert [TOKENIZER.decode([n]) for n in CHAT.encode_text("2026")] == ["2", "0", "2", "6"]


def test_tokenizer_learns_words_of_the_dataset_and_is_limited() -> None:
    assert len(CHAT.encode_text(" triangle")) == 1
    assert len(byte_tokenizer(["a b c"], 5000, longest=512)) < 300
    words = (f"word{chr(97 + n % 26)}{chr(97 + n // 26)} " * 3 for n in range(600))
    assert len(byte_tokenizer(words, 350, longest=512)) == 350


def test_examples_without_images_are_learned_from_text(tmp_path: Path) -> None:
    from vicur.data.dataset import DatasetWriter

    folder = tmp_path / "data"
    folder.mkdir()
    writer = DatasetWriter(folder)
    for n in range(8):
        writer.add(Example(id=f"t{n}", images=(), question=f"{n} + 1?", answer=str(n + 1), source="t", split="distill"))
    writer.finish({"type": "folder"}, None, skipped=0)
    recipe = DatasetBaseConfig(steps=2, vision_steps=2, share=1, **SMALL)
    record = train_dataset_base(recipe, folder, tmp_path / "model", Events("base", None))
    assert record["checked"]["split"] == "the training examples"


def test_command_trains_a_base_and_prints_what_it_can_do(tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "data", distill=12, validation=3)
    sizes = "{hidden_size: 32, heads: 1, layers: 1, vision_hidden_size: 16, vision_heads: 1, vision_layers: 1}"
    options = [f"sizes={sizes}", "steps=2", "vision_steps=2", "share=1", "checked=4"]
    arguments = ["base", "train", str(tmp_path / "model"), "--data", str(data)]
    result = CliRunner().invoke(app, [*arguments, *(part for each in options for part in ("--set", each))])
    assert result.exit_code == 0, result.output
    assert "Trained on 24 examples of distill. Correct answers to 4 examples of validation, with" in result.output
    assert "no hint" in result.output


def test_wrong_settings_and_a_source_folder_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match="min_pixels=9000 is above max_pixels=4096"):
        validated(DatasetBaseConfig, {"min_pixels": 9000, "max_pixels": 4096}, "--set")
    with pytest.raises(VicurError, match="it has no manifest"):
        training_part(tmp_path, DatasetBaseConfig())


RESUME = """
import os, signal, sys
from pathlib import Path
from tests.training.test_dataset_base import SMALL
from vicur.config.tiny_base import DatasetBaseConfig
from vicur.stage.events import Events
from vicur.training.dataset_base import train_dataset_base

class Killing(Events):
    def progress(self, done, total, text=""):
        if done == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[1])
recipe = DatasetBaseConfig(steps=70, vision_steps=60, **SMALL)
train_dataset_base(recipe, folder / "data", folder / sys.argv[2], Killing("base", None), checkpoints=folder / "work")
"""


class Interrupted(Events):
    def __init__(self, step: int) -> None:
        super().__init__("base", None)
        self._step = step

    def progress(self, done: int, total: int, text: str = "") -> None:  # noqa: ARG002
        if done == self._step:
            raise KeyboardInterrupt


def test_a_killed_training_resumes_and_gives_the_same_bytes(tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "data", distill=30, validation=5)
    recipe = DatasetBaseConfig(steps=70, vision_steps=60, **SMALL)
    # In the vision tower, behind a checkpoint.
    with pytest.raises(KeyboardInterrupt):
        train_dataset_base(recipe, data, tmp_path / "model", Interrupted(55), checkpoints=tmp_path / "work")
    arguments = [sys.executable, "-c", RESUME, str(tmp_path), "model", str(60 + 55)]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "model").exists()
    events = Events("base", tmp_path / "events.jsonl")
    resumed = train_dataset_base(recipe, data, tmp_path / "model", events, checkpoints=tmp_path / "work")
    steps = [e.done for e in read_events(tmp_path / "events.jsonl")[0] if e.status == "progress"]
    assert steps[0] == 60 + 51
    whole = train_dataset_base(recipe, data, tmp_path / "whole", Events("base", None))
    assert resumed == whole
    assert tree_sha256(tmp_path / "model") == tree_sha256(tmp_path / "whole")


def test_cues_of_an_extraction_replace_those_of_the_dataset(tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "data", distill=12, validation=3)
    cues = tmp_path / "cues"
    cues.mkdir()
    rows = [
        AuditedCue(e.id, e.split, e.kind, "Zebra crossing.")
        for s in ("distill", "validation")
        for e in read_examples(data, s)
    ]
    write_cues(rows, "annotation", cues)
    recipe = DatasetBaseConfig(steps=2, vision_steps=2, share=1, **SMALL)
    record = train_dataset_base(recipe, data, tmp_path / "model", Events("base", None), cues=cues)
    assert record["dataset"]["cues"] == tree_sha256(cues)
    assert "cue" in record["checked"]["accuracy"]
    tokenizer = Chat.load(tmp_path / "model").tokenizer
    # The tokenizer has learned the word, so the base has read it.
    assert len(tokenizer(" Zebra crossing")["input_ids"]) < len(TOKENIZER(" Zebra crossing")["input_ids"])
    write_cues([AuditedCue("other", "distill", "x", "A cue.")], "annotation", cues)
    with pytest.raises(VicurError, match=r"has no cue for any of the 24 examples of distill"):
        train_dataset_base(recipe, data, tmp_path / "other", Events("base", None), cues=cues)


def test_a_model_in_the_output_folder_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    shutil.copytree(model_folder("tiny"), tmp_path / "model")
    result = CliRunner().invoke(app, ["base", "train", str(tmp_path / "model"), "--data", str(tmp_path / "data")])
    assert "has a model already" in str(result.exception)
    assert "--replace" in str(result.exception)
