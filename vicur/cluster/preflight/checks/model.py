"""Models that steps load: readable in a folder, on S3 or on the Hugging Face Hub, and room to stage them. Nothing is downloaded."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.elsewhere import unless_in_a_store_of_the_cluster, unless_mounted_in_steps
from vicur.cluster.preflight.registry import check
from vicur.config.base import SHIPPED, model_folder
from vicur.config.model_address import MODELS_VARIABLE, ModelAddress, model_address, models_folder
from vicur.errors import VicurError
from vicur.weights import Listing, is_staged, source_at

_WEIGHTS = ".safetensors"
_CONFIG = "config.json"


@check("model {}", topic="inputs", scope="laptop", each=lambda target: target.needs.models)
def _model(target: Target, address: str) -> Finding:
    return unless_in_a_store_of_the_cluster(
        target, address, lambda: unless_mounted_in_steps(target, address, model(address))
    )


def model(path: str) -> Finding:
    """Check that the configuration and weights of a model are readable, in its folder or where a run would fetch them."""
    if path in SHIPPED:
        return Finding("ok", f"{path}, which is part of this package")
    try:
        address = model_address(path)
    except ValueError as error:
        return Finding("failed", f"{path} {error}", "Correct base.path or the teacher's path.")
    if not isinstance(address, ModelAddress):
        return _folder(path)
    try:
        return _at(address)
    except VicurError as error:
        return Finding("failed", f"{error.where}: {error.problem}", error.remedy, error.retryable)


def _at(address: ModelAddress) -> Finding:
    if is_staged(address):
        return Finding("ok", f"{address}, staged in {models_folder() / address.folder_name}")
    listing = _listing(address)
    finding = _check_files(str(address), list(listing.files), "Use a model with safetensors weights.")
    if finding.status != "ok":
        return finding
    return Finding("ok", f"{finding.message}; {listing.bytes / 2**30:.1f} GiB will be staged once")


def _listing(address: ModelAddress) -> Listing:
    return source_at(address).listing()


def _in_volume(target: Target) -> list[ModelAddress]:
    # From a laptop, the volume of a cluster cannot be seen.
    if target.for_cluster and not os.environ.get(MODELS_VARIABLE):
        return []
    try:
        addresses = [model_address(path) for path in target.needs.models]
    except ValueError:
        return []  # reported by the check of that model
    return [each for each in addresses if isinstance(each, ModelAddress) and not is_staged(each)]


@check("room for models", topic="inputs", scope="laptop", when=lambda target: bool(_in_volume(target)))
def _room(target: Target) -> Finding:
    return room(_in_volume(target))


def room(addresses: list[ModelAddress]) -> Finding:
    """Check that the models at some addresses fit where they are staged to, and that it can be written."""
    folder = models_folder()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding(
            "failed",
            f"{there} cannot be written by user {os.getuid()}, group {os.getgid()}",
            "In a cluster, run the job k8s/jobs/stage-models once: its pod gives the volume to this group (docs/models.md).",
        )
    needed, free = sum(_listing(address).bytes for address in addresses), shutil.disk_usage(there).free
    text = f"{needed / 2**30:.1f} GiB are to be staged to {folder}, which has {free / 2**30:.1f} GiB free"
    if needed > free:
        return Finding("failed", text, "Enlarge the volume, or remove models that are no longer used.")
    return Finding("ok", text)


def _folder(path: str) -> Finding:
    try:
        names = [file.name for file in Path(model_folder(path)).iterdir()]
    except VicurError as error:
        return Finding("failed", f"{path} {error.problem}", error.remedy)
    except (OSError, ValueError) as error:
        return Finding(
            "failed",
            f"{path} cannot be read ({getattr(error, 'strerror', None) or error})",
            "Correct base.path. In a cluster, give an address (hf://owner/name@COMMIT), or install the weights on the volume that is "
            "mounted at /models (vicur-models).",
        )
    return _check_files(path, names, "Copy the model again, with all files that save_pretrained wrote.")


def _check_files(address: str, names: list[str], remedy: str) -> Finding:
    weights = [name for name in names if name.endswith(_WEIGHTS) and "/" not in name]
    missing = [*([] if _CONFIG in names else [_CONFIG]), *([] if weights else [f"*{_WEIGHTS}"])]
    if missing:
        return Finding("failed", f"{address} is not a complete model: {' and '.join(missing)} missing", remedy)
    files = f"{len(weights)} file{'s' if len(weights) > 1 else ''}"
    return Finding("ok", f"{address}, weights in {files}")
