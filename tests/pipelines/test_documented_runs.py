"""The packages accept the runs that README.md and docs/ show, and preflight lets them pass."""

from __future__ import annotations

import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from vicur_pipelines.package import write_gpu_check, write_package
from vicur_pipelines.submit.packaged import Package
from vicur_pipelines.submit.parameters import run_parameters

from vicur.cluster.request import Request, resolved
from vicur.config.loading import load_settings
from vicur.config.run import RunConfig
from vicur.config.validation import validated
from vicur.errors import VicurError

REPO = Path(__file__).parents[2]
PAGES = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
_CALL = re.compile(r"^ {4}(?:\.venv/bin/)?((?:vicur submit|kfp .*run submit) .*)$", re.MULTILINE)
_KINDS = {"STRING": str, "NUMBER_INTEGER": int, "NUMBER_DOUBLE": float, "LIST": list, "STRUCT": dict}
_WRONG = "no_such_setting"
"""Setting of the documented call that must fail in preflight."""


def documented() -> list[tuple[str, list[str]]]:
    """Return the documented calls that start a run, each with its page."""
    text = [(page.name, page.read_text(encoding="utf-8").replace("\\\n", " ")) for page in PAGES]
    # A reader fills in the commit of a model, which must be 40 hex digits.
    text = [(page, each.replace("@COMMIT", f"@{'0' * 40}")) for page, each in text]
    calls = [(page, shlex.split(call, comments=True)) for page, each in text for call in _CALL.findall(each)]
    return [(page, words) for page, words in calls if not {"--follow", "--terminate"} & set(words)]


def configuration(words: list[str]) -> RunConfig:
    # Pages that name 8b.yaml compile it from configs/qwen3-vl-8b.yaml.
    named = next((word for word in words if word.startswith("configs/")), "configs/qwen3-vl-8b.yaml")
    settings = [value for option, value in pairwise(words) if option == "--set"]
    return load_settings(RunConfig, REPO / named, settings)


def parameter_values(words: list[str], declared: Any) -> dict[str, Any]:
    """Return the parameters of a call, as ``vicur`` or ``kfp`` reads them."""
    if words[0] == "vicur":
        return run_parameters([value for option, value in pairwise(words) if option == "-p"], declared)
    pairs = [word.split("=", 1) for word in words[words.index("--package-file") + 2 :]]
    return {name: json.loads(text) for name, text in pairs}


@pytest.mark.parametrize(("page", "words"), documented(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_documented_run_is_accepted(page: str, words: list[str], tmp_path: Path) -> None:
    config = configuration(words)
    if "--gpu-check" in words:
        write_gpu_check(tmp_path / "package.yaml", config, None)
    else:
        write_package(tmp_path / "package.yaml", config, None, versioned=False, pipeline="cluster")
    declared = Package.read(tmp_path / "package.yaml").parameters
    values = parameter_values(words, declared)
    assert all(isinstance(value, _KINDS[declared[name]["parameterType"]]) for name, value in values.items())
    if "--gpu-check" in words:
        return  # has no form to resolve
    preset = config.model_dump(mode="json", exclude_none=True)
    form = {name: field["defaultValue"] for name, field in declared.items()} | values
    if any(_WRONG in word for word in words):
        with pytest.raises(VicurError, match=_WRONG):
            resolved(preset, validated(Request, form, page))
    else:
        assert resolved(preset, validated(Request, form, page)).methods


def test_the_pages_show_runs_with_both_commands() -> None:
    assert {"README.md", "submitting.md", "kubernetes.md"} <= {page for page, _ in documented()}
    assert {words[0] for _, words in documented()} == {"vicur", "kfp"}
