"""What models and datasets on the Hugging Face Hub have in common: the errors of its client, and checks of what it sent.

The Hub is ``HF_ENDPOINT``, if that is set, and the token for private repositories is read as huggingface_hub does it (``HF_TOKEN``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from vicur.errors import VicurError
from vicur.redaction import redacted
from vicur.storage.folders import file_sha256

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

# Answers that may be different soon.
_TEMPORARY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


def hub_endpoint() -> str | None:
    """Return the address of a mirror of the Hub, or ``None`` for the Hub itself."""
    return os.environ.get("HF_ENDPOINT")


@contextmanager
def hub_errors(where: str, page: str, kind: str) -> Iterator[None]:
    """Turn errors of huggingface_hub into errors with a remedy.

    Args:
        where: the repository and its revision.
        page: path of its page on the Hub: ``owner/name``, or ``datasets/owner/name``.
        kind: ``model`` or ``dataset``.
    """
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    address = f"{hub_endpoint() or constants.ENDPOINT}/{page}"
    try:
        yield
    except GatedRepoError as error:
        raise VicurError(
            "is gated: its terms must be accepted first.",
            where=where,
            remedy=f"Accept the terms on {address}, and set HF_TOKEN to a token of that account (in a cluster: secret vicur-hf).",
        ) from error
    except RevisionNotFoundError as error:
        raise VicurError(
            "has no such commit.", where=where, remedy=f"Use a commit that {address}/commits/main lists."
        ) from error
    except RepositoryNotFoundError as error:
        raise VicurError(
            "does not exist on the Hub, or this account may not see it.",
            where=where,
            remedy=f"Correct the name. For a private {kind}, set HF_TOKEN (in a cluster: secret vicur-hf).",
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx2.HTTPError, OSError, RuntimeError) as error:
        # A problem of the disk has a number. huggingface_hub and hf_xet raise the same types without one for the network.
        if getattr(error, "errno", None) is not None and not isinstance(error, ConnectionError):
            raise
        raise VicurError(
            f"cannot be fetched ({redacted(str(error).partition(chr(10))[0])}).",
            where=where,
            remedy="Check the network, HF_ENDPOINT and HF_HUB_OFFLINE; in a cluster, a network policy may forbid the Hub to pods "
            "(k8s/base/network/hub.yaml). If the Hub cannot be reached, stage from S3 or a folder.",
            retryable=_may_succeed_later(error),
        ) from error


def _may_succeed_later(error: Exception) -> bool:
    response = getattr(error, "response", None)
    if response is None:
        return True  # a lost connection
    return response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status_code in _TEMPORARY


def published_sha256(path: Path, entry: RepoFile) -> str | None:
    """Return the SHA-256 of a fetched file, or ``None`` if it is not the file that the Hub lists."""
    if not path.is_file() or path.stat().st_size != entry.size:
        return None
    # The Hub lists large files by SHA-256, and small ones by the id of their git blob.
    checksum = file_sha256(path)
    if entry.lfs is not None:
        return checksum if checksum == entry.lfs.sha256 else None
    digest = hashlib.sha1(b"blob %d\0" % entry.size, usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return checksum if digest.hexdigest() == entry.blob_id else None
