"""Properties of Containerfile.serving, which is not built in tests. hadolint (make lint) checks the rest."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[2]
STEPS = [
    (step["instruction"], step["value"])
    for step in DockerfileParser(fileobj=(ROOT / "images" / "Containerfile.serving").open("rb")).structure
    if step["instruction"] != "COMMENT"
]


def values(instruction: str) -> list[str]:
    return [value for name, value in STEPS if name == instruction]


def test_the_base_image_is_a_required_argument() -> None:
    assert STEPS[0] == ("ARG", "BASE")
    assert values("FROM") == ["${BASE}"]


def test_the_image_runs_as_a_numeric_user_without_the_entrypoint_of_vllm() -> None:
    assert values("USER") == ["10001:10001"]
    assert values("ENTRYPOINT") == ["[]"]


def test_only_the_package_installer_downloads_files_and_packages_of_vllm_stay_pinned() -> None:
    (run,) = values("RUN")
    assert values("ADD") == []
    assert not re.search(r"\b(curl|wget|git|apt-get|npm)\b|https?://", run)
    assert "--constraint /src/held.txt" in run


def test_extras_can_be_chosen_to_train_in_the_image() -> None:
    assert "EXTRAS=tracking" in values("ARG")
    assert '"/src[${EXTRAS}]"' in values("RUN")[0]


def test_copied_files_are_part_of_the_build_context() -> None:
    included = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"
    }
    copied = {name for value in values("COPY") for name in value.split()[:-1]}
    assert "serving" in copied
    assert copied <= included


def test_environment_variables_match_the_manifest() -> None:
    manifest = (ROOT / "k8s" / "components" / "student" / "server.yaml").read_text(encoding="utf-8")
    (deployment,) = [m for m in yaml.safe_load_all(manifest) if m["kind"] == "Deployment"]
    variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    environment = " ".join(values("ENV"))
    for variable in variables:
        if "value" in variable and variable["name"] not in ("USER", "HOME"):
            assert f"{variable['name']}={variable['value']}" in environment
