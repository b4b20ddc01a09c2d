"""Check before a run starts that its models and engines exist, because a training would miss them only hours later."""

from __future__ import annotations

from pathlib import Path

from vicur.config.base import model_folder
from vicur.config.model_address import ClaimAddress, model_address
from vicur.config.run import RunConfig
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.stage.table import PipelineConfig


def require_models(config: PipelineConfig) -> None:
    """Raise :class:`VicurError` if the folder of the base model or of a teacher's checkpoint does not exist.

    Models at an address are fetched by the run.
    """
    teachers = {path for training in _trainings(config) for path in training.model_paths().values()}
    for path, setting in {**dict.fromkeys(teachers, "training.teacher.path"), config.base.path: "base.path"}.items():
        address = model_address(path)
        if address is not None and not isinstance(address, ClaimAddress):
            continue
        if not (folder := model_folder(path)).is_dir():
            raise VicurError(
                f"the folder {folder} does not exist.",
                where=setting,
                remedy="Name a folder with a model that save_pretrained wrote.",
            )


def require_engines(config: PipelineConfig) -> None:
    """Raise :class:`VicurError` if a training uses vLLM in its own process, and vLLM or its plugin is not installed."""
    trainings = [training for training in _trainings(config) if training.engines]
    if not trainings:
        return
    # Imports torch, which takes seconds.
    from vicur.training.rollout.build import require_installed

    for training in trainings:
        require_installed(training)


def require_harness(config: PipelineConfig) -> None:
    """Raise :class:`VicurError` if benchmarks are to be scored with a judge, and the environment of their harness does not exist."""
    if isinstance(config, RunConfig) and config.benchmarks.needs_harness(config.evaluation):
        from vicur.evaluation.benchmarks.harness import Harness

        Harness.found(Path(config.benchmarks.python) if config.benchmarks.python else None, "benchmarks.python")


def _trainings(config: PipelineConfig) -> list[TrainConfig]:
    return [cell.training for cell in config.cells()]
