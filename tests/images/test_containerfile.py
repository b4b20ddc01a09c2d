"""Properties of the Containerfile. hadolint (make lint) checks the rest."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[2]
FILE = ROOT / "images" / "Containerfile"


@dataclass
class Stage:
    """Stage of a multi-stage build."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def values(self, instruction: str) -> list[str]:
        return [value for name, value in self.steps if name == instruction]


def read_stages() -> tuple[list[tuple[str, str]], dict[str, Stage]]:
    """Return the instructions before the first stage, and the stages by name."""
    first: list[tuple[str, str]] = []
    stages: dict[str, Stage] = {}
    for step in DockerfileParser(fileobj=FILE.open("rb")).structure:
        name, value = step["instruction"], step["value"]
        if name == "COMMENT":
            continue
        if name == "FROM":
            base, _, stage = value.split()
            stages[stage] = Stage(stage, base)
        elif stages:
            list(stages.values())[-1].steps.append((name, value))
        else:
            first.append((name, value))
    return first, stages


FIRST, STAGES = read_stages()
FLAVORS = ("cpu", "gpu")


def lineage(name: str) -> list[Stage]:
    """Return a stage and the stages that it is based on."""
    stage = STAGES[name]
    return [stage, *(lineage(stage.base) if stage.base in STAGES else [])]


SHIPPED = {stage.name: stage for flavor in FLAVORS for stage in [STAGES["image"], *lineage(flavor)]}


def test_every_stage_is_based_on_the_base_argument_or_another_stage():
    assert {stage.base for stage in STAGES.values()} <= {"${BASE}", "${FLAVOR}", *STAGES}


def test_the_base_argument_has_no_default():
    assert ("ARG", "BASE") in FIRST


def test_the_image_runs_as_a_numeric_user_other_than_root():
    users = [value for stage in SHIPPED.values() for value in stage.values("USER")]
    assert users == ["10001:10001"]


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_only_the_package_installer_downloads_files(stage):
    assert stage.values("ADD") == []
    assert not [
        command for command in stage.values("RUN") if re.search(r"\b(curl|wget|git|apt-get|npm)\b|https?://", command)
    ]


@pytest.mark.parametrize("stage", SHIPPED.values(), ids=SHIPPED)
def test_stages_of_the_final_image_only_copy_from_other_stages(stage):
    assert not [command for command in stage.values("RUN") if re.search(r"\b(pip|uv|install)\b|/inputs", command)]
    assert all(value.startswith("--from=") for value in stage.values("COPY"))
    assert {value.partition("=")[0] for value in stage.values("ARG")} <= {
        "BASE",
        "FLAVOR",
        "VERSION",
        "REVISION",
        "CREATED",
    }


def test_no_argument_or_variable_is_for_a_secret():
    texts = [value for stage in STAGES.values() for name in ("ARG", "ENV", "LABEL") for value in stage.values(name)]
    assert texts
    assert not [value for value in texts if re.search(r"(?i)password|passwd|secret|token|credential|api_?key", value)]


def test_no_step_needs_buildkit():
    assert not re.search(r"(?m)^# *syntax=|--mount|<<", FILE.read_text(encoding="utf-8"))


def test_copied_files_are_committed_and_everything_else_is_ignored():
    copied = {
        source
        for stage in STAGES.values()
        for value in stage.values("COPY")
        if not value.startswith("--from=")
        for source in value.split()[:-1]
    }
    committed = subprocess.run(["git", "ls-files", *copied], cwd=ROOT, capture_output=True, text=True, check=True)
    tops = {file.split("/")[0] for file in committed.stdout.split()}
    assert {source.split("/")[0] for source in copied} == tops
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "*"
    # Containerfile.serving copies the same files, and serving/ with the vLLM plugin.
    assert {line[1:] for line in lines if line.startswith("!")} == tops | {"serving"}


def test_writable_folders_are_below_tmp():
    variables = " ".join(value for stage in SHIPPED.values() for value in stage.values("ENV"))
    assert "HOME=/tmp" in variables.split()
    assert [value for stage in SHIPPED.values() for value in stage.values("WORKDIR")] == ["/tmp"]  # noqa: S108
    assert [value for stage in SHIPPED.values() for value in stage.values("VOLUME")] == []


def test_the_image_has_the_labels_of_the_open_container_initiative():
    (labels,) = STAGES["image"].values("LABEL")
    names = set(re.findall(r"org\.opencontainers\.image\.([a-z.]+)=", labels))
    assert names == {"title", "description", "licenses", "version", "revision", "created", "base.name"}


@pytest.mark.parametrize("file", ["Containerfile", "Containerfile.serving"])
def test_all_folders_of_the_distribution_are_copied_into_the_build(file: str) -> None:
    # setuptools fails if a folder that setup.py names is missing.
    named = set(re.findall(r'"(vicur|components|pipelines|k8s)"', (ROOT / "setup.py").read_text()))
    assert named >= {"vicur", "k8s"}
    copied = re.findall(r"^COPY (.+) /src/\S*$", (ROOT / "images" / file).read_text(), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert {*named, "setup.py"} <= sources
    admitted = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{each}" for each in (*named, "setup.py")} <= set(admitted)
