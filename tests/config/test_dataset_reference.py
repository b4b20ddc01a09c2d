"""A dataset in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from vicur.config.data import DataConfig, DigitScenesConfig, FolderConfig, PinnedConfig, RemoteConfig
from vicur.config.dataset_reference import dataset_reference
from vicur.errors import VicurError

MD5 = "8989d69a6347b61ebc199a636e165293"


@pytest.mark.parametrize(
    ("text", "section"),
    [
        ("", DigitScenesConfig()),
        ("digit-scenes", DigitScenesConfig()),
        (f"{MD5}.dir@s3://bucket/dvc", PinnedConfig(hash=f"{MD5}.dir", remote="s3://bucket/dvc")),
        (f" {MD5}.dir@/mnt/dvc\n", PinnedConfig(hash=f"{MD5}.dir", remote="/mnt/dvc")),
        ("s3://bucket/folder", RemoteConfig(uri="s3://bucket/folder")),
        ("s3://bucket/a@b", RemoteConfig(uri="s3://bucket/a@b")),
        ("/mnt/folder", FolderConfig(path=Path("/mnt/folder"))),
    ],
)
def test_a_reference_is_parsed_into_a_section(text: str, section: DataConfig) -> None:
    assert dataset_reference(text) == section


def test_an_empty_reference_means_the_configured_dataset() -> None:
    configured = FolderConfig(path=Path("mine"))
    assert dataset_reference("  ", configured) == configured
    assert dataset_reference("digit-scenes", configured) == DigitScenesConfig()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"{MD5}.dir", "is a hash without a DVC remote"),
        (f"{MD5}.dir@", "is a hash without a DVC remote"),
        (f"{MD5}@s3://bucket/dvc", "a folder's hash ends in .dir"),
        (f"{MD5.upper()}.dir@s3://bucket/dvc", "DVC writes hashes in lower case"),
        (f"{MD5}.dir@gs://bucket/dvc", "neither s3://bucket/prefix nor an absolute path"),
        (f"{MD5}.dir@dvc", "neither s3://bucket/prefix nor an absolute path"),
        ("s3://", "is not an S3 address"),
        ("s3:/bucket/folder", "is an address with s3:, but datasets can only be fetched from S3"),
        ("https://example.com/data.zip", "is an address with https:"),
        ("hf://name", "is not a dataset on the Hub, which is hf://owner/name@COMMIT"),
        ("pvc://claim", "write pvc://CLAIM/path"),
        ("my-data", "is neither a known dataset nor an absolute path"),
        ("../data", "is neither a known dataset nor an absolute path"),
        (f"{MD5[:-1]}.dir@s3://bucket/dvc", "is neither a known dataset nor an absolute path"),
    ],
)
def test_other_texts_are_rejected_with_the_allowed_forms(text: str, problem: str) -> None:
    with pytest.raises(VicurError) as refused:
        dataset_reference(text)
    assert problem in str(refused.value)
    assert repr(text) in str(refused.value)
    assert "hf://owner/name@COMMIT, pvc://CLAIM/folder or /mnt/folder" in refused.value.remedy


def test_credentials_in_an_address_are_not_repeated() -> None:
    with pytest.raises(VicurError) as caught:
        dataset_reference("s3://user:secret@bucket/x")
    assert "s3://***@bucket/x" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_volume_is_read_where_the_steps_mount_it() -> None:
    mounts = {"vicur-models": Path("/models"), "team": Path("/volumes/team")}
    assert dataset_reference("pvc://team/a/b", mounts=mounts) == FolderConfig(path=Path("/volumes/team/a/b"))
    with pytest.raises(VicurError, match=r"not on a volume that the steps mount \(vicur-models, team\)"):
        dataset_reference("pvc://other/a", mounts=mounts)
