"""Check before a run starts that its models and engines exist, because a training would miss them only hours later."""

from __future__ import annotations

from vicur.config.teacher import OtherCheckpoint
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.stage.table import PipelineConfig


def require_models(config: PipelineConfig) -> None:
    """Raise :class:`VicurError` if the folder of the base model or of a teacher's checkpoint does not exist."""
    teachers = (training.effective.teacher for training in _trainings(config))
    folders = {teacher.folder: "training.teacher.path" for teacher in teachers if isinstance(teacher, OtherCheckpoint)}
    for folder, setting in {**folders, config.base.folder: "base.path"}.items():
        if not folder.is_dir():
            raise VicurError(
                f"the folder {folder} does not exist.",
                where=setting,
                remedy="Name a folder with a model that save_pretrained wrote.",
            )


def require_engines(config: PipelineConfig) -> None:
    """Raise :class:`VicurError` if a training uses vLLM in its own process, and vLLM or its plugin is not installed."""
    # Imports torch.
    from vicur.training.rollout.build import require_installed

    for training in _trainings(config):
        require_installed(training)


def _trainings(config: PipelineConfig) -> list[TrainConfig]:
    return [cell.training for cell in config.cells()]
