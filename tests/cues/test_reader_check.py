"""Whether the base can read the dataset, before cues are paid for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.cues.openai_double import Reply, openai_double
from tests.cues.test_extract import dataset_of
from vicur.cli import app
from vicur.config.run import RunConfig
from vicur.cues import EXTRACT
from vicur.data import Example
from vicur.errors import VicurError
from vicur.stage.runner import Session, execute
from vicur.tracking.tracker import Tracker

TRAPEZOID = {"question": "Which sides of the trapezoid are parallel?", "answer": "AB and CD"}


@pytest.fixture
def scene(scenes: dict[str, list[Example]]) -> Example:
    return scenes["distill"][0]


def extracted(rows: list[Example], folder: Path, **settings: Any) -> int:
    """Run the stage with the default base and return the number of requests."""
    dataset = dataset_of(folder / "data", rows)
    with openai_double(lambda _: Reply("The left column holds 7 and 5.")) as double:
        provider = {"type": "endpoint", "url": double.url, "model": "vlm", "retries": 0}
        limits = {"max_ungrounded_share": 1, "max_leak_share": 1}
        config = RunConfig.model_validate({"cues": {"provider": provider, **limits}, **settings})
        session = Session("run", 0, None, folder / "scratch", lambda _: Tracker())
        try:
            execute(EXTRACT, config.cues, {"dataset": dataset}, folder / "cues", session)
        finally:
            assert double.requests == [] or (folder / "cues").exists()
        return len(double.requests)


def test_a_dataset_that_the_base_cannot_spell_is_refused_before_a_request(scene: Example, tmp_path: Path) -> None:
    rows = [scene.model_copy(update={"id": f"row-{n}", **TRAPEZOID}) for n in range(3)]
    with pytest.raises(VicurError, match=r"cannot spell \d+\.\d % of the characters of the questions.*'sides'"):
        extracted(rows, tmp_path)


def test_prompts_that_are_too_long_with_hint_and_images_are_refused_before_a_request(
    scene: Example, tmp_path: Path
) -> None:
    rows = [scene.model_copy(update={"id": f"row-{n}"}) for n in range(3)]
    rows[2] = rows[2].model_copy(update={"rationale": "The sum is 12. " * 60})
    message = r"1 of 3 prompts are longer than 256 tokens \(row-2 has \d+\).*training.max_prompt_tokens"
    with pytest.raises(VicurError, match=message):
        extracted(rows, tmp_path / "hint", training={"privilege": "rationale"})
    # Without this hint, or with a higher share, they are requested.
    assert extracted(rows, tmp_path / "other")
    assert extracted(rows, tmp_path / "share", training={"privilege": "rationale", "max_unhinted_share": 0.5})
    with pytest.raises(VicurError, match=r"3 of 3 prompts .*data\.pixels\.max"):
        extracted(rows, tmp_path / "pixels", data={"type": "digit_scenes", "pixels": {"teacher": {"min": 100_000}}})


def test_a_base_on_another_machine_is_not_checked(scene: Example, tmp_path: Path) -> None:
    rows = [scene.model_copy(update={"id": f"row-{n}", **TRAPEZOID}) for n in range(3)]
    base = {"path": "hf://Qwen/Qwen3-VL-2B-Instruct@" + "0" * 40}
    assert extracted(rows, tmp_path, base=base)


def test_the_reader_is_part_of_no_identity() -> None:
    tiny, other = (RunConfig.model_validate({"base": {"path": path}}) for path in ("tiny", "/models/other"))
    assert tiny.cues.reader != other.cues.reader
    assert tiny.cues.identity() == other.cues.identity()
    assert "reader" not in tiny.model_dump()["cues"]
    with pytest.raises(ValueError, match=r"cues\.reader cannot be set: write base\.path"):
        RunConfig.model_validate({"cues": {"reader": None}})


def test_prepare_checks_a_base_that_is_set(scene: Example, tmp_path: Path) -> None:
    (tmp_path / "scene.png").write_bytes(scene.images[0])
    row = {"images": ["scene.png"], "answer": "12", "split": "distill"}
    rows = [{**row, "id": f"r{n}", "question": "What is the sum? " * (1 + 99 * (n == 2))} for n in range(3)]
    (tmp_path / "examples.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    output, runner = tmp_path / "data", CliRunner()
    arguments = [
        "data",
        "prepare",
        "--output",
        str(output),
        "--set",
        f"data={tmp_path}",
        "--set",
        "data.required_splits=[distill]",
    ]
    assert runner.invoke(app, arguments).exit_code == 0
    checked = runner.invoke(app, [*arguments, "--set", "base.path=tiny"])
    assert "1 of 3 prompts are longer than 256 tokens (r2 has" in str(checked.exception)
    longer = runner.invoke(app, [*arguments, "--set", "base.path=tiny", "--set", "training.max_prompt_tokens=1024"])
    assert longer.exit_code == 0, longer.output
