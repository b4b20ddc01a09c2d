"""The built cpu image: who runs in it, what it holds and says of itself, and what it must not hold."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.metadata import version

import pytest

from tests.e2e.conftest import ROOT
from tests.e2e.engine import Engine

pytestmark = pytest.mark.docker
LISTS = "/usr/share/doc/vicur"


def inside(engine: Engine, image: str, *command: str) -> str:
    """What a command prints in a container like a restricted pod's: no capabilities, no network, nothing to write to but /tmp."""
    restricted = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]  # noqa: S108
    return engine.docker("run", "--rm", "--network", "none", *restricted, image, *command).stdout


@pytest.fixture(scope="module")
def described(engine: Engine, image: str) -> dict:
    return dict(json.loads(engine.docker("image", "inspect", image).stdout)[0])


@pytest.fixture(scope="module")
def components(engine: Engine, image: str) -> dict[str, dict]:
    """Components of the image's bill of materials by name."""
    bill = json.loads(inside(engine, image, "cat", f"{LISTS}/sbom.cdx.json"))
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "vicur"
    return {component["name"]: component for component in bill["components"]}


def test_runs_as_a_user_by_number_who_is_not_root(engine, image, described):
    assert described["Config"]["User"] == "10001:10001"
    assert inside(engine, image, "id", "-u").strip() == "10001"


def test_the_command_and_the_executor_of_steps_start_with_a_read_only_root(engine, image):
    assert inside(engine, image, "vicur", "--version").split() == ["vicur", version("vicur")]
    assert "--executor_input" in inside(engine, image, "python3", "-m", "kfp.dsl.executor_main", "--help")


def test_it_holds_the_base_that_the_package_ships(engine, image):
    script = "from vicur.config.base import BaseModelConfig as B; from vicur.modeling import load_model"
    count = "print(sum(weight.numel() for weight in load_model(B().folder).parameters()))"
    assert inside(engine, image, "python3", "-c", f"{script}; {count}").strip() == "729760"


def test_nothing_outside_tmp_is_writable_for_its_user(engine, image):
    found = engine.docker(
        "run", "--rm", "--network", "none", image, "find", "/", "-xdev", "-writable", "-not", "-type", "l",
        "-not", "-path", "/proc/*", "-not", "-path", "/sys/*", "-not", "-path", "/dev/*", check=False,
    ).stdout.split()  # fmt: skip
    assert set(found) <= {"/tmp", "/var/tmp", "/run/lock"}  # noqa: S108


def test_labels_say_what_it_is_and_what_it_was_built_from(described):
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    labels = described["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "vicur-cpu"
    assert labels["org.opencontainers.image.version"] == version("vicur")
    assert labels["org.opencontainers.image.revision"] == commit.stdout.strip()
    assert labels["org.opencontainers.image.base.name"].startswith("sha256:")
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_its_bill_of_materials_is_what_python_finds_in_it(engine, image, components):
    script = (
        "from importlib.metadata import distributions as d; print(*(f'{x.name}=={x.version}' for x in d()), sep='\\n')"
    )
    installed = dict(line.split("==") for line in inside(engine, image, "python3", "-c", script).split())
    listed = {name: component["version"] for name, component in components.items()}
    installed.pop("vicur")
    assert {name.lower().replace("_", "-"): number for name, number in installed.items()} == {
        name.lower().replace("_", "-"): number for name, number in listed.items() if name != "vicur"
    }


def test_it_holds_the_sdk_and_the_tracking_client_and_no_server_cuda_or_installer(components):
    names = {name.lower() for name in components}
    assert {"kfp", "kfp-kubernetes", "mlflow-skinny", "boto3", "torch"} <= names
    assert not {"mlflow", "dvc", "pip", "pytest", "cyclonedx-bom", "uv"} & names
    assert not {name for name in names if name.startswith("nvidia")}


def test_every_package_of_its_bill_has_a_license_in_the_list(engine, image, components):
    rows = [line.split("|") for line in inside(engine, image, "cat", f"{LISTS}/licenses.md").splitlines()[2:]]
    licenses = {row[1].strip().lower().replace("_", "-"): row[3].strip() for row in rows}
    assert {name.lower().replace("_", "-") for name in components} <= licenses.keys() | {"vicur"}
    assert [name for name, found in licenses.items() if found in ("", "UNKNOWN")] == []


def test_its_history_and_files_hold_no_secret_no_input_of_the_build_and_no_shell_history(engine, image, described):
    told = engine.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image).stdout + str(described["Config"])
    assert re.findall(r"(?i)password|token|secret|index_url|ca_bundle|ca\.pem|/inputs", told) == []
    files = engine.docker(
        "run", "--rm", "--network", "none", "--user", "0", image, "find", "/", "-xdev", "-name", ".*history"
    )
    assert files.stdout == ""
    kept = engine.docker(
        "run", "--rm", "--network", "none", "--user", "0", image, "ls", "/", "/opt", "/root"
    ).stdout.split()
    assert not {"inputs", "src", "tools", "package", ".cache"} & set(kept)


def test_its_size_is_told(described, capsys):
    with capsys.disabled():
        print(f"\nThe cpu image takes {described['Size'] / 2**20:.0f} MiB.")
    assert described["Size"] < 2 * 2**30
