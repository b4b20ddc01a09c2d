"""Models that steps load: that they are there and may be read, wherever they lie."""

from __future__ import annotations

import re

from vicur.cluster.preflight.buckets import first_objects
from vicur.cluster.preflight.finding import Finding
from vicur.config.base import SHIPPED, model_folder

_HUB = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SECONDS = 15
_LISTED = 1000
_WEIGHTS = ".safetensors"
_CONFIG = "config.json"


def model(address: str) -> Finding:
    """Whether the model at ``address`` can be read: its configuration and weights are looked for, nothing is downloaded.

    Raises:
        VicurError: where an address on S3 is none, or boto3 is missing.
    """
    if address in SHIPPED:
        return Finding("ok", f"{address}, which ships with this package")
    if address.startswith("s3://"):
        return _on_s3(address)
    if address.startswith("hf://"):
        return _on_the_hub(address)
    return _folder(address)


def _folder(address: str) -> Finding:
    folder = model_folder(address)
    try:
        names = [file.name for file in folder.iterdir()]
    except (OSError, ValueError) as error:
        return Finding(
            "failed",
            f"{address} cannot be read ({getattr(error, 'strerror', None) or error})",
            "Correct base.path; in a cluster, mount the volume with the base weights (vicur-models at /models) and stage them.",
        )
    return _judged(address, names, "Copy the model again, as save_pretrained wrote it.")


def _on_s3(address: str) -> Finding:
    found = first_objects(address, _LISTED)
    if isinstance(found, Finding):
        return found
    return _judged(address, found, "Upload the model there, as save_pretrained wrote it.")


def _on_the_hub(address: str) -> Finding:
    found = _HUB.fullmatch(address)
    if found is None:
        return Finding("failed", f"{address} is no model on the Hub", "Write hf://organisation/name@revision.")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    name, revision = found["name"], found["revision"]
    try:
        # It takes HF_TOKEN without the line break that files end in; a token that cannot be sent would be shown by its complaint.
        info = HfApi().model_info(name, revision=revision, timeout=_SECONDS)
    except GatedRepoError:
        return Finding(
            "failed", f"{name} is gated", "Accept its terms on the Hub, and set HF_TOKEN to a token of that account."
        )
    except RevisionNotFoundError:
        return Finding("failed", f"{name} has no revision {revision}", "Give a commit of it.")
    except RepositoryNotFoundError:
        return Finding(
            "failed",
            f"the Hub shows no model {name}",
            "Correct the name; a private one needs HF_TOKEN (secret vicur-hf).",
        )
    except Exception as error:  # noqa: BLE001 (its releases differ in the HTTP library, whose errors have no common base)
        return Finding(
            "failed",
            f"the Hub does not answer ({str(error).partition(chr(10))[0]})",
            "Allow huggingface.co, set HF_ENDPOINT to a mirror, or stage the model on S3 or a volume beforehand.",
        )
    names = [each.rfilename for each in info.siblings or ()]
    finding = _judged(f"{name} at {str(info.sha)[:12]}", names, "Name a model with safetensors weights.")
    if finding.status == "ok" and not _COMMIT.fullmatch(revision or ""):
        return Finding(
            "warning", f"{finding.what}; {revision or 'its newest'} may move", f"Pin it: hf://{name}@{info.sha}"
        )
    return finding


def _judged(address: str, names: list[str], remedy: str) -> Finding:
    weights = [name for name in names if name.endswith(_WEIGHTS) and "/" not in name]
    missing = [*([] if _CONFIG in names else [_CONFIG]), *([] if weights else [f"*{_WEIGHTS}"])]
    if missing:
        return Finding("failed", f"{address} is no model: it has no {' and no '.join(missing)}", remedy)
    files = f"{len(weights)} file{'s' if len(weights) > 1 else ''}"
    return Finding("ok", f"{address}, weights in {files}")
