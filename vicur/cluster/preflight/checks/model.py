"""Models that steps load: present and readable in a folder, on S3 or on the Hugging Face Hub. Nothing is downloaded."""

from __future__ import annotations

import re

from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.elsewhere import unless_mounted_in_steps
from vicur.cluster.preflight.registry import check
from vicur.config.base import SHIPPED, model_folder
from vicur.storage.s3 import remedy_for, s3_client, split_address

_HUB = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SECONDS = 15
_LISTED = 1000
_WEIGHTS = ".safetensors"
_CONFIG = "config.json"


@check("model {}", topic="inputs", scope="laptop", each=lambda target: target.needs.models)
def _model(target: Target, address: str) -> Finding:
    return unless_mounted_in_steps(target, address, model(address))


def model(address: str) -> Finding:
    """Check that the configuration and weights of a model are readable."""
    if address in SHIPPED:
        return Finding("ok", f"{address}, which is part of this package")
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
            "Correct base.path. In a cluster, install the weights on the volume that is mounted at /models (vicur-models).",
        )
    return _check_files(address, names, "Copy the model again, with all files that save_pretrained wrote.")


def _on_s3(address: str) -> Finding:
    name, prefix = split_address(address)
    client = s3_client(address, impatient=True)
    from botocore.exceptions import BotoCoreError, ClientError

    # With a slash at the end: without it, a sibling such as "base-old" would match the prefix "base".
    start = f"{prefix}/" if prefix else ""
    try:
        objects = client.list_objects_v2(Bucket=name, Prefix=start, MaxKeys=_LISTED).get("Contents", [])
    except (BotoCoreError, ClientError) as error:
        return Finding("failed", f"{address}: {str(error).splitlines()[0]}", remedy_for(error, address))
    names = [str(entry["Key"]).removeprefix(start) for entry in objects]
    return _check_files(address, names, "Upload the model, with all files that save_pretrained wrote.")


def _on_the_hub(address: str) -> Finding:
    match = _HUB.fullmatch(address)
    if match is None:
        return Finding(
            "failed", f"{address} is not a valid address on the Hub", "Write it as hf://organisation/name@revision."
        )
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    name, revision = match["name"], match["revision"]
    try:
        # HfApi strips the token itself. Passing a token with a line break would put it into the error message.
        info = HfApi().model_info(name, revision=revision, timeout=_SECONDS)
    except GatedRepoError:
        return Finding(
            "failed",
            f"{name} is a gated model",
            "Accept its terms on the Hub, and set HF_TOKEN to a token of that account.",
        )
    except RevisionNotFoundError:
        return Finding("failed", f"{name} has no revision {revision}", "Use one of its commits.")
    except RepositoryNotFoundError:
        return Finding(
            "failed",
            f"the Hub has no public model {name}",
            "Correct the name. For a private model, set HF_TOKEN (in a cluster, in the secret vicur-hf).",
        )
    except Exception as error:  # noqa: BLE001 (releases of huggingface_hub use different HTTP libraries, with unrelated errors)
        return Finding(
            "failed",
            f"the Hub does not respond ({str(error).partition(chr(10))[0]})",
            "Allow access to huggingface.co, set HF_ENDPOINT to a mirror, or install the model on S3 or a volume beforehand.",
        )
    names = [each.rfilename for each in info.siblings or ()]
    finding = _check_files(f"{name} at {str(info.sha)[:12]}", names, "Use a model with safetensors weights.")
    if finding.status == "ok" and not _COMMIT.fullmatch(revision or ""):
        return Finding(
            "warning",
            f"{finding.message}; {revision or 'its latest revision'} may change",
            f"Pin the commit: hf://{name}@{info.sha}",
        )
    return finding


def _check_files(address: str, names: list[str], remedy: str) -> Finding:
    weights = [name for name in names if name.endswith(_WEIGHTS) and "/" not in name]
    missing = [*([] if _CONFIG in names else [_CONFIG]), *([] if weights else [f"*{_WEIGHTS}"])]
    if missing:
        return Finding("failed", f"{address} is not a complete model: {' and '.join(missing)} missing", remedy)
    files = f"{len(weights)} file{'s' if len(weights) > 1 else ''}"
    return Finding("ok", f"{address}, weights in {files}")
