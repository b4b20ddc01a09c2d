"""Take the pictures of MLflow's pages in the docs: ``python -m tests.mlflow_e2e.pictures`` (``make mlflow-pictures``).

Runs the pipeline of ``configs/local.yaml`` with half of its steps against the servers of these tests, and registers the student of its
other method, too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mlflow import MlflowClient
from PIL import Image

from tests.mlflow_e2e.stack import USER, stack
from vicur.tracking.mlflow import environment

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs/local.yaml"
MODEL = "vicur-tiny"
CHROMIUM = "/usr/bin/chromium"
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
HEADLINE = ("accuracy", "accuracy_base", "accuracy_gain")
_WIDTH = 1400
_COLOURS = 256


def register_students(folder: Path, uri: str) -> None:
    """Run the pipeline in ``folder`` with its MLflow at ``uri``, and register the student that it did not choose."""
    _vicur(folder, uri, "run", CONFIG, "--set", "training.steps=150")
    [pipeline] = (folder / "runs/latest/pipeline").glob("vicur-distill-*")
    [student] = (each.parent for each in pipeline.glob("*/train/student/vicur.json") if _method(each) == "opsd")
    [evaluation] = (each.parent for each in pipeline.glob("*/evaluate/*/metrics.json") if _method(each) == "opsd")
    inputs = {
        "--student": student,
        "--evaluation": evaluation,
        "--base-evaluation": pipeline / "evaluate-base/evaluation",
        "--comparison": pipeline / "compare/comparison",
        "--dataset": pipeline / "prepare/dataset",
        "--cues": pipeline / "extract/cues",
        "--output": folder / "registration",
        "--config": CONFIG,
    }
    _vicur(folder, uri, "register", *(word for pair in inputs.items() for word in pair))


def _vicur(folder: Path, uri: str, *arguments: str | Path) -> None:
    variables = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_TRACKING_USERNAME": USER[0], "MLFLOW_TRACKING_PASSWORD": USER[1]}
    command = [sys.executable, "-m", "vicur", *map(str, arguments)]
    subprocess.run(command, cwd=folder, env={**os.environ, **variables}, check=True)


def _method(file: Path) -> str:
    content = json.loads(file.read_text(encoding="utf-8"))
    return str(content.get("model", content)["method"])


@contextmanager
def browser_page(experiment: str) -> Iterator[Page]:
    """Open a browser that is logged in as the user of the pipeline, in the part of MLflow's UI for trained models.

    The table of runs of ``experiment`` has the columns that a user chose there.
    """
    from playwright.sync_api import sync_playwright

    columns = ["attributes.`Models`", "tags.`vicur.model_version`", *(f"metrics.`{name}`" for name in HEADLINE)]
    stored = {
        f'MLflowLocalStorage-1.1-ExperimentPage-["{experiment}"]-ReactComponentState': {"selectedColumns": columns},
        "mlflow.workflowType_v1": "machine_learning",
        "mlflow.assistant.panelOpen_v1": False,
        "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
    }
    lines = [
        f"localStorage.setItem({json.dumps(key)}, {json.dumps(json.dumps(value))});" for key, value in stored.items()
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        context = browser.new_context(
            viewport={"width": _WIDTH, "height": 900}, http_credentials={"username": USER[0], "password": USER[1]}
        )
        context.add_init_script("\n".join(lines))
        yield context.new_page()
        browser.close()


def take_pictures(uri: str, folder: Path) -> list[Path]:
    """Write a PNG of each page about the champion of :data:`MODEL` and return the files."""
    with environment(MLFLOW_TRACKING_USERNAME=USER[0], MLFLOW_TRACKING_PASSWORD=USER[1]):
        client = MlflowClient(uri, uri)
        version = client.get_model_version_by_alias(MODEL, "champion")
        model = client.get_logged_model(version.source.removeprefix("models:/"))
        experiment = str(model.experiment_id)
        by_time = client.search_runs([experiment], "tags.`vicur.stage` = 'pipeline'", order_by=["start_time"])
    runs, models = f"{uri}/#/experiments/{experiment}/runs", f"{uri}/#/models/{MODEL}"
    # The height of a page, and a text that it ends with.
    pages = {
        "experiment": (runs, 760, "matching runs"),
        "run": (f"{runs}/{by_time[0].info.run_id}", 1320, "Registered models"),
        "logged-model": (f"{uri}/#/experiments/{experiment}/models/{model.model_id}", 900, "distribution.processes"),
        "model": (models, 1060, "Version 1"),
        "version": (f"{models}/versions/{version.version}", 1440, "Outputs"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with browser_page(experiment) as page:
        for name, (address, height, text) in pages.items():
            page.set_viewport_size({"width": _WIDTH, "height": height})
            page.goto(address)
            page.get_by_text(text).first.wait_for(timeout=60_000)
            if name == "experiment":
                # Show the steps of the pipeline's run, which is the oldest.
                page.locator("[data-component-id*=runnamecellrenderer]").last.click()
            # Some parts appear after the text.
            page.wait_for_timeout(3000)
            written.append(folder / f"{name}.png")
            page.screenshot(path=written[-1])
            compress(written[-1])
    return written


def compress(file: Path) -> None:
    """Reduce a picture to few colours."""
    Image.open(file).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/registry"
    with TemporaryDirectory() as folder, stack(Path(folder)) as servers:
        work = Path(folder) / "work"
        work.mkdir()
        register_students(work, servers.server.uri)
        for file in take_pictures(servers.server.uri, target.absolute()):
            print(f"{file} ({file.stat().st_size // 1024} kB)")


if __name__ == "__main__":
    main()
