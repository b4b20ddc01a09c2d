"""Where the servers of a training are, which its processes read from one environment variable.

The training's stage sets it once its servers have started; on a cluster, the job's manifest does. All processes of the training inherit it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from vicur.errors import VicurError
from vicur.processes.machines import SERVERS
from vicur.processes.supervised import failure_of

VARIABLE = SERVERS


@dataclass(frozen=True)
class Addresses:
    """The servers of a training.

    Attributes:
        urls: addresses of the servers of each part, ``rollout`` or ``teacher``.
        devices: GPUs of this machine that they use, the last ones.
        exchange: whether they see the folder ``engine.exchange`` of the training, because they run on this machine.
        failure: file in which the reason appears if one of them has ended for good.
    """

    urls: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    devices: int = 0
    exchange: bool = False
    failure: str = ""

    def to_variable(self) -> str:
        """Serialise for the environment."""
        return json.dumps(asdict(self), sort_keys=True)

    def require_alive(self) -> None:
        """Raise the ``VicurError`` of a server that has ended for good."""
        error = failure_of(Path(self.failure)) if self.failure else None
        if error is not None:
            raise error


def addresses() -> Addresses | None:
    """Return the servers of this process's training, or ``None`` if none was started."""
    value = os.environ.get(VARIABLE)
    if not value:
        return None
    try:
        fields = json.loads(value)
        urls = {part: tuple(each) for part, each in fields.pop("urls").items()}
        return Addresses(urls=urls, **fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise VicurError(
            "the variable with the addresses of the training's servers is invalid.",
            where=VARIABLE,
            remedy="Unset it: the training sets it for its own processes.",
        ) from error
