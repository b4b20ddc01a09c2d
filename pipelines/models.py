"""What the trainings of a run need beside data, looked at before it starts: what is missing is not to be found out after hours."""

from __future__ import annotations

from collections.abc import Iterable

from vicur.config.ablation import AblationConfig
from vicur.config.run import RunConfig
from vicur.config.teacher import OtherCheckpoint
from vicur.config.training import TrainConfig
from vicur.errors import VicurError


def require_models(config: RunConfig | AblationConfig) -> None:
    """Sees to it that the folders of the base and of every teacher with a checkpoint of its own are there.

    Raises:
        VicurError: for the first that is not.
    """
    teachers = (training.effective.teacher for training in _trainings(config))
    folders = {teacher.folder: "training.teacher.path" for teacher in teachers if isinstance(teacher, OtherCheckpoint)}
    for folder, setting in {**folders, config.base.folder: "base.path"}.items():
        if not folder.is_dir():
            raise VicurError(
                "is no folder.",
                where=f"{setting}, {folder}",
                remedy="Name the folder of a model that save_pretrained wrote.",
            )


def require_engines(config: RunConfig | AblationConfig) -> None:
    """Sees to it that vLLM is there, with its plugin, for a training that is to have it inside.

    Raises:
        VicurError: where it is not.
    """
    # Imports torch.
    from vicur.training.rollout.build import require_installed

    for training in _trainings(config):
        require_installed(training)


def _trainings(config: RunConfig | AblationConfig) -> Iterable[TrainConfig]:
    return [cell.training for cell in config.cells()]
