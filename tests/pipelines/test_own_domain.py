"""A dataset of another domain goes from a folder of pictures to a report, with a base that was trained on it, without a GPU."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.small import summary, vicur
from tests.training.shapes import shape_examples

pytestmark = pytest.mark.slow

CONFIG = """\
name: shapes
methods: [vicur]
data: {type: folder, path: shapes}
base: {path: models/tiny}
cues: {provider: {type: annotation}, max_leak_share: 1}
training: {steps: 10, batch_size: 16, learning_rate: 3.0e-4, objective: forward_kl, recovery: {interval: 1}}
registry: {model: shapes}
"""
RECIPE = [
    "steps=120",
    "vision_steps=80",
    "min_pixels=1024",
    "max_pixels=2304",
    "vocabulary=400",
    "batch_size=16",
    "warmup_steps=10",
    "sizes={hidden_size: 64, intermediate_size: 128, heads: 2, layers: 2, vision_hidden_size: 32, vision_heads: 2}",
]


def write_source(folder: Path) -> None:
    folder.mkdir()
    with (folder / "examples.jsonl").open("w") as lines:
        for split, pictures in {"distill": 300, "validation": 40, "test": 40}.items():
            for example in shape_examples(split, pictures):
                image = f"{example.group}.png"
                (folder / image).write_bytes(example.images[0])
                row: dict[str, Any] = example.model_dump(exclude={"images", "choices", "source"})
                lines.write(json.dumps({**row, "images": [image]}) + "\n")


def test_pictures_of_shapes_go_to_a_report_with_a_base_of_their_own(tmp_path: Path) -> None:
    write_source(tmp_path / "shapes")
    (tmp_path / "shapes.yaml").write_text(CONFIG)
    steps = [
        ["data", "prepare", "--config", "shapes.yaml", "--output", "data"],
        ["base", "train", "models/tiny", "--data", "data", *(part for each in RECIPE for part in ("--set", each))],
        ["run", "shapes.yaml"],
    ]
    for arguments in steps:
        done = vicur(tmp_path, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    checked = json.loads((tmp_path / "models" / "tiny" / "vicur.json").read_text())["checked"]
    # The teacher with the cue beats the student; chance is 0.29.
    assert checked["accuracy"]["cue"] > checked["accuracy"]["none"] + 0.1 > 0.5
    made = summary(tmp_path)
    assert {stage["status"] for stage in made["stages"]} <= {"finished", "reused"}
    report = (tmp_path / "runs" / "latest" / "report.html").read_text()
    assert "What colour is the shape?" in report
