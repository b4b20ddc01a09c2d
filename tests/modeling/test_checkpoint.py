"""Saving and loading checkpoints, and the rejection of incomplete or foreign ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageTextToText,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from tests.full_disk import full_disk
from tests.modeling.factory import IM_START, Picture, backbone, batch, chat_row, fresh_student, student
from vicur.config.recovery import CueRecoverySettings
from vicur.errors import VicurError
from vicur.modeling import (
    Qwen3VLStudentConfig,
    Qwen3VLStudentForConditionalGeneration,
    load_model,
    parameter_count,
    save_model,
    with_cue_recovery,
    without_cue_recovery,
)
from vicur.storage.folders import tree_sha256

ROW = chat_row(Picture(), 20, 21, response=(30, 31))


@torch.no_grad()
def logits(model: Qwen3VLForConditionalGeneration) -> torch.Tensor:
    return model(**batch([ROW])).logits


def same_weights(one: Qwen3VLForConditionalGeneration, other: Qwen3VLForConditionalGeneration) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("tied", [True, False])
def test_saving_and_loading_preserves_a_student(tmp_path: Path, tied: bool) -> None:
    made = fresh_student(backbone(tied=tied), sink="assistant")
    torch.nn.init.normal_(made.model.cue_recovery.attentions()[2].o_proj.weight)
    save_model(made, tmp_path / "student")
    back = load_model(tmp_path / "student")
    assert isinstance(back, Qwen3VLStudentForConditionalGeneration)
    assert same_weights(made, back)
    assert torch.equal(logits(made), logits(back))
    assert back.config.recovery_settings == CueRecoverySettings(interval=2, sink="assistant")
    assert back.config.im_start_token_id == IM_START
    assert (back.lm_head.weight is back.get_input_embeddings().weight) is tied
    assert not back.training


def test_saving_is_deterministic_and_writes_no_local_paths(tmp_path: Path) -> None:
    save_model(student(), tmp_path / "new")
    save_model(load_model(tmp_path / "new"), tmp_path / "one")
    save_model(load_model(tmp_path / "one"), tmp_path / "two")
    names = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert names == ["config.json", "generation_config.json", "model.safetensors"]
    for name in names:
        content = (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "two" / name).read_bytes()
        assert str(tmp_path).encode() not in content


def test_auto_classes_load_config_backbone_and_student(tmp_path: Path) -> None:
    made = student()
    save_model(made, tmp_path)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), Qwen3VLStudentConfig)
    assert torch.equal(logits(AutoModelForImageTextToText.from_pretrained(tmp_path).eval()), logits(made))
    model = AutoModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        states = model(**batch([ROW])).last_hidden_state
    assert torch.equal(made.lm_head(states), logits(made))


def test_a_student_without_the_module_is_a_plain_checkpoint(tmp_path: Path) -> None:
    base = backbone()
    plain = without_cue_recovery(fresh_student(base))
    assert type(plain) is Qwen3VLForConditionalGeneration
    save_model(plain, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "qwen3_vl"
    assert config["architectures"] == ["Qwen3VLForConditionalGeneration"]
    assert "cue_recovery" not in config
    back = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert same_weights(back, base)
    assert type(load_model(tmp_path)) is Qwen3VLForConditionalGeneration


def test_adding_the_module_does_not_modify_the_backbone() -> None:
    base = backbone()
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    made = fresh_student(base)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())


def test_the_seed_determines_only_the_modules_weights() -> None:
    one, same, other = (fresh_student(seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    different = {name for name in one if not torch.equal(one[name], other[name])}
    weights = ("q_proj.weight", "key_weight", "value_weight")
    assert different == {f"model.cue_recovery.layers.{layer}.{weight}" for layer in (0, 2, 4) for weight in weights}


def test_the_dtype_is_preserved_unless_another_is_requested(tmp_path: Path) -> None:
    save_model(student().bfloat16(), tmp_path)
    assert load_model(tmp_path).dtype == torch.bfloat16
    back = load_model(tmp_path, dtype=torch.float32)
    assert {parameter.dtype for parameter in back.parameters()} == {torch.float32}
    rebuilt = with_cue_recovery(without_cue_recovery(load_model(tmp_path)), CueRecoverySettings(interval=2), seed=0)
    assert {parameter.dtype for parameter in rebuilt.parameters()} == {torch.bfloat16}


def test_chat_files_and_the_record_are_saved_with_the_weights(tmp_path: Path) -> None:
    chat = tmp_path / "base"
    chat.mkdir()
    for name in (
        "tokenizer.json",
        "preprocessor_config.json",
        "chat_template.jinja",
        "config.json",
        "vicur.json",
        "model.bin",
    ):
        (chat / name).write_text(name)
    (chat / "preprocessor_config.json").write_text('{"size": {}}')
    save_model(student(), tmp_path / "student", chat_folder=chat, record={"method": "vicur", "parent": None})
    names = {p.name for p in (tmp_path / "student").iterdir()}
    assert {"tokenizer.json", "preprocessor_config.json", "chat_template.jinja"} < names
    assert "model.bin" not in names
    assert json.loads((tmp_path / "student" / "vicur.json").read_text()) == {"method": "vicur", "parent": None}
    load_model(tmp_path / "student")


def test_a_full_disk_raises_oserror_and_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    save_model(made := student(), tmp_path / "student")
    before = tree_sha256(tmp_path / "student")
    with full_disk(1 << 14), pytest.raises(OSError, match="File too large"):
        save_model(made, tmp_path / "student")
    assert tree_sha256(tmp_path / "student") == before
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def _edit_config(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def _edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    edit(weights)
    save_file(weights, path, metadata={"format": "pt"})


KEY = "model.cue_recovery.layers.0.key_weight"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "not a readable model configuration"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), "not a readable model configuration"),
    "another model": (lambda f: _edit_config(f, model_type="llama"), "the model type is 'llama'"),
    "remote code": (lambda f: _edit_config(f, auto_map={"AutoModel": "evil.Model"}), "requires custom code"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
    "pickle": (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "pickle"),
    "cut off": (lambda f: (f / "model.safetensors").write_bytes(b"\x10" * 100), "cannot be loaded"),
    "missing": (lambda f: _edit_weights(f, lambda w: w.pop(KEY)), f"lacks weights: {KEY}"),
    "left over": (lambda f: _edit_weights(f, lambda w: w.update(extra=torch.ones(1))), "extra"),
    "shape": (
        lambda f: _edit_weights(f, lambda w: w.update({KEY: torch.ones(2, 2)})),
        f"of a different shape than .*: {KEY}",
    ),
    "fewer modules": (
        lambda f: _edit_config(f, cue_recovery={"interval": 4}),
        "weights that its config.json does not describe",
    ),
    "bad settings": (lambda f: _edit_config(f, cue_recovery={"interval": 0}), "cannot be loaded"),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "student"
    save_model(student(), folder)
    return folder


@pytest.mark.parametrize("name", DAMAGES)
def test_an_invalid_checkpoint_is_rejected(saved: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(saved, tmp_path / "student")
    damage, message = DAMAGES[name]
    damage(tmp_path / "student")
    with pytest.raises(VicurError, match=message) as raised:
        load_model(tmp_path / "student")
    assert str(tmp_path) in str(raised.value)


def test_a_missing_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match="not a readable model configuration"):
        load_model(tmp_path / "none")


# Published architectures (Qwen3-VL-Instruct): parameters of the model, and of the modules as counted by the published code.
# That count has q, k, v and o of a module after every fifth layer, including the last (4B and 8B: layer 35 of 36), without the
# two norms. Ours has no module on the last layer and includes the norms.
ARCHITECTURES = {
    "2B": (2048, 6144, 28, 16, True, (24, 1024, 4096, [5, 11, 17]), 2127532032, 100663296, False),
    "4B": (2560, 9728, 36, 32, True, (24, 1024, 4096, [5, 11, 17]), 4437815808, 209715200, True),
    "8B": (4096, 12288, 36, 32, False, (27, 1152, 4304, [8, 16, 24]), 8767123696, 536870912, True),
    "32B": (5120, 25600, 64, 64, False, (27, 1152, 4304, [8, 16, 24]), 33357390064, 1363148800, False),
}


@pytest.mark.parametrize("size", ARCHITECTURES)
def test_parameter_counts_match_the_published_sizes(size: str) -> None:
    hidden, intermediate, layers, heads, tied, vision, total, published, has_last = ARCHITECTURES[size]
    depth, vision_hidden, vision_intermediate, deepstack = vision
    fields = {
        "text_config": {
            "hidden_size": hidden,
            "intermediate_size": intermediate,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
        },
        "vision_config": {
            "depth": depth,
            "hidden_size": vision_hidden,
            "intermediate_size": vision_intermediate,
            "deepstack_visual_indexes": deepstack,
            "out_hidden_size": hidden,
        },
        "tie_word_embeddings": tied,
    }
    with torch.device("meta"):
        base = Qwen3VLForConditionalGeneration(Qwen3VLConfig(**fields))
        made = Qwen3VLStudentForConditionalGeneration(Qwen3VLStudentConfig(**fields))
    for model in (base, made):
        model.tie_weights()
    a_module, norms = 4 * hidden**2, 2 * hidden
    counted = parameter_count(made)
    assert parameter_count(base).total == total
    assert parameter_count(base).cue_recovery == 0
    assert counted.cue_recovery == published - has_last * a_module + norms
    assert counted.total == total + counted.cue_recovery


@pytest.mark.parametrize("flags", [(True, True), (True, False), (True, None), (False, True)])
def test_own_output_layer_survives_a_flag_that_says_it_is_tied(tmp_path: Path, flags: tuple[bool, bool | None]) -> None:
    model = backbone(tied=False)
    save_model(model, tmp_path / "base")
    path = tmp_path / "base" / "config.json"
    config = json.loads(path.read_text())
    for part, flag in zip((config, config["text_config"]), flags, strict=True):
        part.pop("tie_word_embeddings", None)
        if flag is not None:
            part["tie_word_embeddings"] = flag
    path.write_text(json.dumps(config))
    made = with_cue_recovery(load_model(tmp_path / "base"), CueRecoverySettings(interval=2), 0)
    save_model(made, tmp_path / "student")
    saved = json.loads((tmp_path / "student" / "config.json").read_text())
    assert not saved["tie_word_embeddings"]
    assert not saved["text_config"].get("tie_word_embeddings", False)
    for kept in (made, load_model(tmp_path / "student"), without_cue_recovery(load_model(tmp_path / "student"))):
        assert torch.equal(kept.lm_head.weight, model.lm_head.weight)


@pytest.mark.parametrize(("known", "saved"), [(None, 9), (3, [9, 3]), ([3, 4], [9, 3, 4]), (9, 9), ([3, 9], [3, 9])])
def test_saved_generation_config_ends_at_the_end_of_a_turn(tmp_path: Path, known: object, saved: object) -> None:
    model = backbone()
    model.generation_config.eos_token_id = known
    save_model(model, tmp_path / "student", end_id=9)
    written = json.loads((tmp_path / "student" / "generation_config.json").read_text())
    assert written["eos_token_id"] == saved
