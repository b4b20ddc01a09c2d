"""Promote a version on another MLflow server, to which its files are copied.

The copy has the provenance, the verdict and the evaluation of its original, so that the other server can compare later candidates with it
and serve it when the first server is gone. Weights that the original refers to are uploaded.

The gate decides before anything is uploaded, and again on the finished copy. An upload is complete before a version refers to it
(:mod:`vicur.registry.uploads`), so that a repeated promotion continues an interrupted one, and never creates a second version.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.evaluation.comparison import Evaluation
from vicur.registry.checkpoints import verified_checkpoint
from vicur.registry.copying import identity_of
from vicur.registry.history import ROLLED_BACK, history_of, standard_of
from vicur.registry.model_files import write_if_missing, write_model_file
from vicur.registry.pages import with_moves
from vicur.registry.paired import EVALUATION_FOLDER, stored_evaluation
from vicur.registry.promotion import Move, make_champion, objection_in, require_force, user
from vicur.registry.provenance import PROVENANCE, Provenance, provenance_of
from vicur.registry.uploads import create_version
from vicur.registry.verdict import (
    VERDICT,
    Verdict,
    evaluation_run_of,
    objection_against,
    recorded_objection,
    verdict_of,
)
from vicur.registry.versions import CHAMPION, Version, find_version, get_version, model_tags, version_with_alias
from vicur.registry.weights import WEIGHTS
from vicur.tracking.mlflow import connect_to, creation_lock, environment, mlflow_errors, public_uri
from vicur.tracking.records import log_dataset
from vicur.tracking.runs import experiment_id, find_or_start

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

log = logging.getLogger(__name__)

_CREDENTIALS = ("USERNAME", "PASSWORD", "TOKEN")
_THEIRS = "VICUR_TO_"
_REMEDY = (
    "Check the address (http://host:port, https://host or sqlite:///file), and its credentials: VICUR_TO_USERNAME and "
    "VICUR_TO_PASSWORD, or VICUR_TO_TOKEN."
)
_COPY_TAG = "vicur.copy_of"
_NAME_TAG = "mlflow.runName"
_TRAINING_LINK = re.compile(r"^- \[Training run\]\(.*\)$\n?", re.MULTILINE)


@dataclass(frozen=True)
class Server:
    """An MLflow server with the variables that lead MLflow's client to it."""

    client: MlflowClient
    variables: Mapping[str, str | None]

    @contextmanager
    def active(self) -> Iterator[MlflowClient]:
        """Send the credentials of this server for the duration of the context, and those of no other."""
        with mlflow_errors(self.client.tracking_uri), environment(**self.variables):
            yield self.client


def server_of(client: MlflowClient) -> Server:
    """Return the server that this process has its credentials for."""
    names = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", *(f"MLFLOW_TRACKING_{name}" for name in _CREDENTIALS))
    return Server(
        client, {**{name: os.environ.get(name) for name in names}, "MLFLOW_TRACKING_URI": client.tracking_uri}
    )


def other_server(uri: str) -> Server:
    """Connect to another server, with the credentials in ``VICUR_TO_USERNAME`` and ``VICUR_TO_PASSWORD``, or ``VICUR_TO_TOKEN``.

    Raises:
        VicurError: if it does not respond, or refuses them.
    """
    variables = {
        # A run that the platform started is on the first server.
        "MLFLOW_RUN_ID": None,
        "MLFLOW_EXPERIMENT_ID": None,
        **{f"MLFLOW_TRACKING_{name}": os.environ.get(f"{_THEIRS}{name}") for name in _CREDENTIALS},
    }
    with environment(**variables):
        try:
            client = connect_to(uri)
        except VicurError as error:
            raise VicurError(error.problem, where=error.where, remedy=_REMEDY, retryable=error.retryable) from error
    return Server(client, {**variables, "MLFLOW_TRACKING_URI": client.tracking_uri})


@dataclass(frozen=True)
class _Original:
    """What the first server knows about a version."""

    version: Version
    address: str
    identity: dict[str, str]
    provenance: Provenance
    verdict: Verdict | None
    objection: str
    """Why it did not pass the gate, or was rolled back; empty if neither."""
    description: str
    model: LoggedModel | None
    evaluation: Path | None
    """Folder with its stored evaluation."""

    @classmethod
    def read(cls, client: MlflowClient, version: Version, folder: Path, *, force: bool) -> _Original:
        left = history_of(client, version.model).standing(version)
        run_id, evaluation = evaluation_run_of(client, version), None
        try:
            if run_id is not None:
                stored_evaluation(client, run_id, folder)
                evaluation = folder / EVALUATION_FOLDER
        except VicurError as error:
            if not force:
                raise
            log.warning("The copy will have no evaluation: %s", error)
        return cls(
            version=version,
            address=f"models:/{version.model}/{version.number} at {public_uri(client)}",
            identity=identity_of(client, version),
            provenance=provenance_of(client, version),
            verdict=verdict_of(client, version),
            objection=f"was {left}." if left.startswith(ROLLED_BACK) else recorded_objection(client, version),
            description=client.get_model_version(version.model, version.number).description or "",
            model=client.get_logged_model(version.model_id)
            if version.model_id is not None and model_tags(client, version.model_id)
            else None,
            evaluation=evaluation,
        )


def promote_elsewhere(
    here: Server,
    name: str,
    version: str,
    there: Server,
    *,
    into: str,
    experiment: str,
    reason: str = "",
    force: bool = False,
) -> Move:
    """Make a version the champion of the registered model ``into`` of another server, to which it is copied unless it is there already.

    Args:
        here: server that has the version.
        name: its registered model.
        version: its number or alias.
        there: server to copy it to.
        into: registered model there.
        experiment: experiment there, for the run that the copy belongs to.
        reason: reason of the move.
        force: promote a version that did not pass the gate, or was rolled back; requires a ``reason``.

    Raises:
        VicurError: if the version does not exist, requires ``force`` or a reason, or a server does not respond.
    """
    with TemporaryDirectory() as folder:
        with here.active() as client:
            original = _Original.read(client, get_version(client, name, version), Path(folder), force=force)
        with there.active() as client, creation_lock(client.tracking_uri):
            target = find_version(client, into, original.identity, original.version.tags)
            champion = version_with_alias(client, into, CHAMPION)
            if champion is not None and target is not None and champion.number == target.number:
                return Move(
                    model=into,
                    champion=target.number,
                    before=target.number,
                    reason="This version is already the champion.",
                )
            objection = _objection(client, original, target, into)
            require_force(objection, original.version, reason=reason, force=force)
            if target is None:
                target = _copy(here, client, original, into, experiment, Path(folder))
                # The upload takes minutes, in which another version may have become champion.
                objection = objection or objection_in(client, target, into)
                require_force(objection, target, reason=reason, force=force)
            given = f"Copied from {original.address}. {reason.strip() or 'No reason given.'}"
            return make_champion(client, target, reason=given, by=user(), forced=bool(objection))


def _objection(client: MlflowClient, original: _Original, target: Version | None, into: str) -> str:
    """Return why the version may not become champion of the registered model ``into``; empty if it may."""
    if target is not None:
        # It may have a verdict there that is newer than that of the original.
        return objection_in(client, target, into)
    if original.objection:
        return original.objection
    standard = standard_of(client, into, "")
    verdict, evaluation = original.verdict, original.evaluation
    if standard.version is None:
        return ""
    if verdict is None or evaluation is None:
        return "has no stored measurements to compare with the champion there."
    return objection_against(
        client, standard.version, original.version, verdict, lambda: Evaluation.load(evaluation), standard.missing
    )


def _copy(here: Server, client: MlflowClient, original: _Original, into: str, experiment: str, folder: Path) -> Version:
    version, model = original.version, original.model
    where = experiment_id(client, TrackingConfig(experiment=experiment))
    keys = {_COPY_TAG: f"{version.model}/{version.number}", "vicur.checkpoint": original.identity["vicur.checkpoint"]}
    run_id = find_or_start(client, where, keys, {_NAME_TAG: f"copy of {version.model} version {version.number}"})
    if original.evaluation is not None:
        client.log_artifacts(run_id, str(original.evaluation), EVALUATION_FOLDER)
    # Nothing would end the run of an interrupted copy.
    client.set_terminated(run_id)
    provenance = original.provenance.model_copy(update={"copied_from": original.address})

    def verdict_on(model_id: str) -> str | None:
        if original.verdict is None:
            return None
        verdict = original.verdict.model_copy(update={"model_id": model_id, "evaluation_run": run_id})
        return verdict.model_dump_json(indent=1) + "\n"

    def pack(model_id: str) -> Path:
        _log_figures(client, original, run_id, model_id)
        with here.active() as source:
            verified_checkpoint(source, version, folder / "download", provenance.lineage.checkpoint)
        return _repacked(folder / "download/model", model_id, run_id, provenance, verdict_on(model_id))

    def complete(model_id: str) -> None:
        # An upload that was complete before, perhaps that of a registration that ended before its version.
        write_if_missing(client, model_id, PROVENANCE, provenance.as_text())
        if (text := verdict_on(model_id)) is not None:
            write_model_file(client, Version.to_be(model_id), VERDICT, text)

    page = _TRAINING_LINK.sub("", with_moves(original.description, [])).rstrip()
    return create_version(
        client,
        into,
        identity=original.identity,
        tags=dict(version.tags),
        params={} if model is None else dict(model.params),
        run_id=run_id,
        label=provenance.lineage.method or "student",
        description=f"{page}\n- Copied from {original.address}",
        pack=pack,
        complete=complete,
    )


def _log_figures(client: MlflowClient, original: _Original, run_id: str, model_id: str) -> None:
    """Log the accuracies of the original with the dataset that they were measured on."""
    from mlflow.entities import Metric

    lineage, model = original.provenance.lineage, original.model
    examples = original.provenance.data.examples
    if lineage.dataset and lineage.dataset_source:
        log_dataset(client, run_id, lineage.dataset_source, lineage.dataset, "evaluation", examples)
    figures = (
        {}
        if model is None
        else {(each.key, each.dataset_name, each.dataset_digest): each for each in model.metrics or ()}
    )
    rows = [
        Metric(each.key, each.value, each.timestamp, each.step, model_id, each.dataset_name, each.dataset_digest)
        for each in figures.values()
    ]
    if rows:
        client.log_batch(run_id, rows)


def _repacked(folder: Path, model_id: str, run_id: str, provenance: Provenance, verdict: str | None) -> Path:
    """Make a downloaded model that of another server: with its ids there, and without a reference to weights."""
    from mlflow.models import Model

    description = Model.load(str(folder))
    description.model_uuid = description.model_id = model_id
    description.run_id = run_id
    description.save(str(folder / "MLmodel"))
    # The other file is MLflow's own, of the version that was downloaded. The reader writes it again.
    for name in (WEIGHTS, "registered_model_meta"):
        (folder / name).unlink(missing_ok=True)
    (folder / PROVENANCE).write_text(provenance.as_text(), encoding="utf-8")
    if verdict is not None:
        (folder / VERDICT).write_text(verdict, encoding="utf-8")
    return folder
