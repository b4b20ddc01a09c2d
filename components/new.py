"""Create the skeleton of a component and of its test:

make component NAME=profile
"""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path

from vicur.errors import VicurError

_COMPONENT = '''"""Pipeline step: {name}."""

from kfp import dsl
from vicur_components.component import component


@component
def {name}(
    dataset: dsl.Input[dsl.Dataset],
    step: dict,
    result: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
):
    """Describe what the step computes."""
    from vicur.steps.stage_step import run_step

    run_step("{name}", step, {{"dataset": dataset}}, result, metrics)
'''

_TEST = '''"""The component ``{name}`` gives its stage the right inputs, and the platform the right artifacts."""

from __future__ import annotations

from kfp import dsl
from vicur_components.{name}.component import {name}

from tests.components.recorder import Artifacts, Recorder


def test_{name}_reads_the_dataset(recorder: Recorder, artifact: Artifacts) -> None:
    step, metrics = {{"config": {{"some": "setting"}}}}, artifact("metrics", dsl.Metrics)
    {name}.python_func(dataset=artifact("dataset"), step=step, result=artifact("result"), metrics=metrics)
    assert (recorder.name, recorder.step, recorder.inputs) == ("{name}", step, {{"dataset": "dataset"}})
    assert recorder.output == "result"
    assert metrics.metadata == {{"accuracy/test": 0.5}}
'''

_NEXT = """Next:
- write the stage, and declare it and its step in vicur/stage/table.py
- add the step to the graph in pipelines/graph.py
- allow its pods to reach MLflow and S3 in k8s/base/network/steps.yaml
- run 'make compile'"""


def create(root: Path, name: str) -> list[Path]:
    """Write the files of a new component and return their paths. Raise :class:`VicurError` if its name is not valid or in use."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise VicurError(
            f"{name!r} is not a valid name of a component.",
            where="NAME",
            remedy="Use lower-case letters, digits and underscores, as in 'make component NAME=profile'.",
        )
    files = {
        root / "components" / name / "__init__.py": f'"""Component ``{name}``."""\n',
        root / "components" / name / "component.py": _COMPONENT.format(name=name),
        root / "tests" / "components" / f"test_{name}.py": _TEST.format(name=name),
    }
    taken = [root / "components" / name, root / "components" / f"{name}.py", *files]
    existing = [path for path in taken if path.exists()]
    if existing:
        raise VicurError(
            f"{existing[0].relative_to(root)} exists.",
            where="NAME",
            remedy="Choose another name, or edit the component.",
        )
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(files)


def main() -> None:
    try:
        made = create(Path.cwd(), sys.argv[1] if len(sys.argv) > 1 else "")
    except VicurError as error:
        sys.exit(f"Error: {error}")
    for path in made:
        print(path.relative_to(Path.cwd()))
    print(_NEXT)


if __name__ == "__main__":
    main()
