"""Put :class:`StudentApp` in front of MLflow's scoring server.

``mlflow models serve`` runs ``uvicorn mlflow.pyfunc.scoring_server.app:app``. That module loads the model and then builds its application,
without a hook by which a model could limit requests. While it loads the model, its attribute ``app`` is made a property that wraps the
application. No function of MLflow is replaced.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

from vicur.config.loading import load_overrides
from vicur.config.serving import ModelLimits
from vicur.errors import VicurError
from vicur.processes.asgi import App
from vicur.registry.served.files import Files
from vicur.registry.served.student import ServedStudent

LIMITS, FOLDER, KEY = "VICUR_SERVE_LIMITS", "VICUR_SERVE_FOLDER", "VICUR_SERVE_KEY"
_MODULE = "mlflow.pyfunc.scoring_server.app"
_MODEL_PATH = "__pyfunc_model_path__"  # set by MLflow for its scoring server


def is_server_process() -> bool:
    """Return whether MLflow loads the model to serve it."""
    return _MODEL_PATH in os.environ


def server_limits() -> ModelLimits:
    """Return the limits in the environment, such as ``max_rows=16,max_tokens=256``.

    Raises:
        VicurError: if one is unknown or wrong.
    """
    settings = [each.strip() for each in os.environ.get(LIMITS, "").split(",")]
    return load_overrides(ModelLimits, [each for each in settings if each], LIMITS)


def server_files() -> Files:
    """Return access to the folder of images in the environment; without it, no file is opened.

    Raises:
        VicurError: if it is not a folder.
    """
    folder = os.environ.get(FOLDER)
    if folder and not Path(folder).is_dir():
        raise VicurError("is not a folder.", where=f"{FOLDER}={folder}", remedy="Name the folder of the images.")
    return Files(Path(folder) if folder else None)


class _GuardedModule(ModuleType):
    """The class of MLflow's module with the application. A property of the class goes before the module's own attribute."""

    _guard: Callable[[App], App]

    @property
    def app(self) -> App:
        return type(self)._guard(self.__dict__["app"])


def require_settings() -> None:
    """Check the settings in the environment, before the model is loaded.

    Raises:
        VicurError: if one is invalid.
    """
    server_limits()
    server_files()


def guard_scoring_server(student: ServedStudent) -> None:
    """Make the scoring server that is loading the model serve it through :class:`StudentApp`.

    Raises:
        VicurError: if this release of MLflow builds its server in another way, or the settings in the environment are invalid.
    """
    from vicur.registry.served.app import StudentApp

    module = sys.modules.get(_MODULE)
    if module is None or "app" in module.__dict__:
        raise VicurError(
            "this release of MLflow builds its server in another way, so requests would not be limited.",
            where="mlflow models serve",
            remedy="Install the release that the model's requirements.txt names.",
        )
    limited, files, key = student.with_limits(server_limits()), server_files(), os.environ.get(KEY)
    guard = staticmethod(cache(lambda app: StudentApp(app, limited, files, key)))
    module.__class__ = type("GuardedModule", (_GuardedModule,), {"_guard": guard})
