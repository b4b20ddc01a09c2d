"""The built cpu image: its user, contents, metadata, and files that it must not contain."""

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
    """Return the output of a command in a container without capabilities and network, in which only /tmp is writable."""
    restricted = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]  # noqa: S108
    return engine.docker("run", "--rm", "--network", "none", *restricted, image, *command).stdout


@pytest.fixture(scope="module")
def described(engine: Engine, image: str) -> dict:
    return dict(json.loads(engine.docker("image", "inspect", image).stdout)[0])


@pytest.fixture(scope="module")
def components(engine: Engine, image: str) -> dict[str, dict]:
    """Return the components of the SBOM by name."""
    bill = json.loads(inside(engine, image, "cat", f"{LISTS}/sbom.cdx.json"))
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "vicur"
    return {component["name"]: component for component in bill["components"]}


def test_the_image_runs_as_a_numeric_user_other_than_root(engine, image, described):
    assert described["Config"]["User"] == "10001:10001"
    assert inside(engine, image, "id", "-u").strip() == "10001"


def test_vicur_and_the_kfp_executor_start_with_a_read_only_root(engine, image):
    assert inside(engine, image, "vicur", "--version").split() == ["vicur", version("vicur")]
    assert "--executor_input" in inside(engine, image, "python3", "-m", "kfp.dsl.executor_main", "--help")


def test_the_image_contains_the_tiny_base_model(engine, image):
    script = "from vicur.config.base import BaseModelConfig as B; from vicur.modeling import load_model"
    count = "print(sum(weight.numel() for weight in load_model(B().folder).parameters()))"
    assert inside(engine, image, "python3", "-c", f"{script}; {count}").strip() == "729760"


def test_only_temporary_folders_are_writable_for_the_user(engine, image):
    writable = engine.docker(
        "run", "--rm", "--network", "none", image, "find", "/", "-xdev", "-writable", "-not", "-type", "l",
        "-not", "-path", "/proc/*", "-not", "-path", "/sys/*", "-not", "-path", "/dev/*", check=False,
    ).stdout.split()  # fmt: skip
    assert set(writable) <= {"/tmp", "/var/tmp", "/run/lock"}  # noqa: S108


def test_labels_have_version_revision_and_base(described):
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    labels = described["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "vicur-cpu"
    assert labels["org.opencontainers.image.version"] == version("vicur")
    assert labels["org.opencontainers.image.revision"] == commit.stdout.strip()
    assert labels["org.opencontainers.image.base.name"].startswith("sha256:")
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_the_sbom_lists_exactly_the_installed_packages(engine, image, components):
    script = (
        "from importlib.metadata import distributions as d; print(*(f'{x.name}=={x.version}' for x in d()), sep='\\n')"
    )
    installed = dict(line.split("==") for line in inside(engine, image, "python3", "-c", script).split())
    listed = {name: component["version"] for name, component in components.items()}
    installed.pop("vicur")
    assert {name.lower().replace("_", "-"): number for name, number in installed.items()} == {
        name.lower().replace("_", "-"): number for name, number in listed.items() if name != "vicur"
    }


def test_the_image_has_the_clients_but_no_server_cuda_or_installer(components):
    names = {name.lower() for name in components}
    assert {"kfp", "kfp-kubernetes", "mlflow-skinny", "boto3", "torch"} <= names
    assert not {"mlflow", "dvc", "pip", "pytest", "cyclonedx-bom", "uv"} & names
    assert not {name for name in names if name.startswith("nvidia")}


def test_every_package_of_the_sbom_has_a_license(engine, image, components):
    rows = [line.split("|") for line in inside(engine, image, "cat", f"{LISTS}/licenses.md").splitlines()[2:]]
    licenses = {row[1].strip().lower().replace("_", "-"): row[3].strip() for row in rows}
    assert {name.lower().replace("_", "-") for name in components} <= licenses.keys() | {"vicur"}
    assert [name for name, license_ in licenses.items() if license_ in ("", "UNKNOWN")] == []


def test_history_and_files_have_no_secrets_build_inputs_or_shell_history(engine, image, described):
    text = engine.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image).stdout + str(described["Config"])
    assert re.findall(r"(?i)password|token|secret|index_url|ca_bundle|ca\.pem|/inputs", text) == []
    files = engine.docker(
        "run", "--rm", "--network", "none", "--user", "0", image, "find", "/", "-xdev", "-name", ".*history"
    )
    assert files.stdout == ""
    folders = engine.docker(
        "run", "--rm", "--network", "none", "--user", "0", image, "ls", "/", "/opt", "/root"
    ).stdout.split()
    assert not {"inputs", "src", "tools", "package", ".cache"} & set(folders)


def test_the_image_is_smaller_than_2_gib(described, capsys):
    with capsys.disabled():
        print(f"\nSize of the cpu image: {described['Size'] / 2**20:.0f} MiB.")
    assert described["Size"] < 2 * 2**30
