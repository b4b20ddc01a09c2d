"""What the real first step of a package returns, without the checks of its environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.pipelines.kfp_execution import Executed, Outputs
from vicur.steps.preflight_step import run_preflight_step, run_sections_step


def preflight_outputs(folder: Path) -> Outputs:
    """Return a function that runs preflight in ``folder`` for an execution of a package."""

    def run(task: Executed) -> Mapping[str, Any]:
        assert task.name == "preflight"
        names = task.component["outputDefinitions"]["parameters"]
        given = {**task.parameters, **{name: str(folder / name) for name in names}}
        if "preset" in given:
            preset = _without_checks(given["preset"])
            run_preflight_step(preset, given["code_versions"], given, str(folder / "checked"))
        else:
            run_sections_step(_without_checks(given), given["code_versions"], str(folder / "checked"))
        texts = {name: (folder / name).read_text() for name in names}
        return {
            name: texts[name] if kind["parameterType"] == "STRING" else json.loads(texts[name])
            for name, kind in names.items()
        }

    return run


def _without_checks(sections: Mapping[str, Any]) -> dict[str, Any]:
    return {**sections, "cluster": {**sections.get("cluster", {}), "look": False}}
