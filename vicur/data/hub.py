"""Fetches the data files of one commit of a dataset on the Hugging Face Hub.

Scripts are neither fetched nor run, and nothing is written to the cache of huggingface_hub. Every file is compared with the checksum that
the Hub lists for the commit.
"""

from __future__ import annotations

import fnmatch
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from vicur.config.data import HubConfig
from vicur.data.fetch import require_paths
from vicur.data.fetched import ENDINGS, require_dataset
from vicur.errors import VicurError
from vicur.stage.events import Events
from vicur.storage.folders import files_below
from vicur.storage.hub import hub_endpoint, hub_errors, published_sha256
from vicur.wording import listed

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

_THREADS = 8
_SECONDS = 15  # for a listing
_SHOWN = 3
_PARTIAL = 206  # HTTP's status of a part
_CODE = (".py", ".ipynb", ".sh", ".pkl", ".pickle", ".pt", ".pth", ".bin")


def newest_dataset_commit(repository: str, revision: str | None) -> str:
    """Return the commit that a branch or tag of a dataset names now; by default, its main branch.

    Raises:
        VicurError: if the Hub cannot be reached, or has no such dataset or revision.
    """
    from huggingface_hub import HfApi

    with hub_errors(_where(repository, revision or "main"), f"datasets/{repository}", "dataset"):
        info = HfApi(endpoint=hub_endpoint()).dataset_info(repository, revision=revision, timeout=_SECONDS)
    return str(info.sha)


def hub_files(config: HubConfig) -> dict[str, RepoFile]:
    """Return the files to fetch: all but hidden ones and code, and of the data files those in ``data.files``."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    where = _where(config.repository, config.revision)
    with hub_errors(where, f"datasets/{config.repository}", "dataset"):
        tree = HfApi(endpoint=hub_endpoint()).list_repo_tree(
            config.repository, revision=config.revision, recursive=True, repo_type="dataset"
        )
        files = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    require_paths(list(files), where)
    wanted = {path: entry for path, entry in files.items() if _is_wanted(path, config)}
    require_dataset(wanted, where)
    return wanted


def fetch_from_hub(config: HubConfig, work: Path, events: Events) -> Path:
    """Fetch the files of a dataset to a folder below ``work``, and return it. The next call with the same ``work`` resumes.

    Raises:
        VicurError: if a file cannot be fetched, or is not the one that the Hub lists.
    """
    from huggingface_hub.utils.tqdm import disable_progress_bars

    files = hub_files(config)
    folder = work / "fetched"
    folder.mkdir(parents=True, exist_ok=True)
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        if name not in files and not name.startswith(".cache/"):
            path.unlink()
    # Its bars would fill the log of a pod.
    disable_progress_bars()
    wrong, done, size = [], 0, 0
    with (
        hub_errors(_where(config.repository, config.revision), f"datasets/{config.repository}", "dataset"),
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        running = {pool.submit(_fetch_one, config, entry, folder): entry for entry in files.values()}
        try:
            for finished in as_completed(running):
                entry = running[finished]
                if not finished.result():
                    wrong.append(entry.path)
                done, size = done + 1, size + entry.size
                events.progress(done, len(files), f"files, {size / 1e6:,.0f} MB fetched")
        finally:
            # After the first failure or Ctrl-C, do not begin with further files.
            pool.shutdown(cancel_futures=True)
    if wrong:
        raise VicurError(
            f"the Hub sent other bytes than it lists for {listed(sorted(wrong), _SHOWN)}.",
            where=_where(config.repository, config.revision),
            remedy="Try again. If the error persists, check the mirror or proxy in between.",
            retryable=True,
        )
    # Download metadata of huggingface_hub.
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return folder


def read_hub_range(config: HubConfig, name: str, start: int, count: int) -> bytes:
    """Return bytes of a file of a dataset: ``count`` of them from ``start`` on, or fewer at its end.

    Raises:
        VicurError: if the Hub cannot be reached, or does not send them.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]

    url = hf_hub_url(config.repository, name, repo_type="dataset", revision=config.revision, endpoint=hub_endpoint())
    headers = {**build_hf_headers(), "Range": f"bytes={start}-{start + count - 1}", "Accept-Encoding": "identity"}
    parts, size = [], 0
    with (
        hub_errors(_where(config.repository, config.revision), f"datasets/{config.repository}", "dataset"),
        get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=_SECONDS) as response,
    ):
        hf_raise_for_status(response)
        # A server without support for ranges sends the file from its first byte.
        skipped = 0 if response.status_code == _PARTIAL else start
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size >= skipped + count:
                break
    return b"".join(parts)[skipped : skipped + count]


def _fetch_one(config: HubConfig, entry: RepoFile, folder: Path) -> bool:
    from huggingface_hub import hf_hub_download

    path = folder / entry.path
    if published_sha256(path, entry) is not None:
        return True
    hf_hub_download(
        config.repository,
        entry.path,
        repo_type="dataset",
        revision=config.revision,
        endpoint=hub_endpoint(),
        local_dir=folder,
    )
    if published_sha256(path, entry) is None:
        path.unlink(missing_ok=True)
        return False
    return True


def _is_wanted(path: str, config: HubConfig) -> bool:
    if any(part.startswith(".") for part in path.split("/")) or path.lower().endswith(_CODE):
        return False
    return not (config.files and path.lower().endswith(ENDINGS)) or _matches(path, config.files)


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def _where(repository: str, revision: str) -> str:
    return f"hf://{repository}@{revision[:12]}"
