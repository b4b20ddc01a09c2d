"""Options and functions for stages in portions that are run by hand, such as by the jobs of a batch system."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vicur.commands.common import run_stage
from vicur.errors import VicurError

if TYPE_CHECKING:
    from vicur.config.run import RunConfig

PortionOption = Annotated[
    str | None,
    typer.Option(
        "--portion",
        metavar="NUMBER/COUNT",
        help="Do only one of COUNT portions of the work, such as 2/8, for 'merge' to put together.",
        show_default=False,
    ),
]
PortionsArgument = Annotated[
    list[Path], typer.Argument(metavar="PORTIONS...", help="Outputs of all portions, in any order.", show_default=False)
]


def run_portion(
    name: str,
    portion: str,
    section: Any,
    inputs: Mapping[str, Path],
    output: Path,
    config: RunConfig,
    *,
    cache: bool,
) -> None:
    """Divide a stage, and do the portion that ``--portion`` names.

    Raises:
        VicurError: if there is no such portion, or an input is invalid.
    """
    from vicur.stage.portions import PORTIONS
    from vicur.stage.table import DIVIDED

    number, count = _parsed(portion)
    divided = DIVIDED[name]
    plan = divided.plan.section.model_validate({divided.section: section, "count": count})
    with tempfile.TemporaryDirectory() as folder:
        planned = Path(folder) / "plan"
        run_stage(name, plan, inputs, planned, config, subject="plan", cache=False, entry=divided.plan, quiet=True)
        made = json.loads((planned / PORTIONS).read_text(encoding="utf-8"))
    if number > len(made):
        raise VicurError(
            f"there are only {len(made)} portions, because the input cannot be divided further.",
            where=f"--portion {portion}",
            remedy=f"Do portions 1/{count} to {len(made)}/{count}.",
        )
    own = divided.portion.section.model_validate(made[number - 1])
    run_stage(name, own, inputs, output, config, subject=f"portion {portion}", cache=cache, entry=divided.portion)


def merge_portions(
    name: str,
    portions: Sequence[Path],
    section: Any,
    inputs: Mapping[str, Path],
    output: Path,
    config: RunConfig,
    *,
    cache: bool,
) -> None:
    """Merge portions to the output of a stage.

    Raises:
        VicurError: if one is missing or does not belong to the others.
    """
    from vicur.stage.portions import portion_inputs

    missing = [str(folder) for folder in portions if not folder.is_dir()]
    if missing:
        raise VicurError("is not a folder.", where=missing[0], remedy="Name the outputs of all portions.")
    run_stage(name, section, {**inputs, **portion_inputs(portions)}, output, config, cache=cache)


def _parsed(text: str) -> tuple[int, int]:
    from vicur.config.portions import MOST_PORTIONS

    match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text)
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count <= MOST_PORTIONS:
        raise VicurError(
            f"{text!r} is not a portion.",
            where="--portion",
            remedy=f"Write its number and the number of all, such as 2/8; there may be {MOST_PORTIONS}.",
        )
    return number, count
