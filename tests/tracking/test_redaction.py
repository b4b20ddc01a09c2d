"""Secrets are masked in texts and in values with secret names."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicur.redaction import redacted, redacted_value

SECRETS = st.text(string.ascii_letters + string.digits + "!$*+-._~:@%", min_size=6, max_size=20).filter(
    lambda s: s.strip("*:@.") and not s.startswith("*")
)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("http://ann:pw@mlflow:5000", "http://***@mlflow:5000"),
        ("postgresql+psycopg2://ann:p@ss@db:5432/mlflow", "postgresql+psycopg2://***@db:5432/mlflow"),
        ("postgresql://ann:p/ss@db/mlflow", "postgresql://***@db/mlflow"),
        ("https://ghp_abc123@host/x.git", "https://***@host/x.git"),
        ("https://b.s3.example/x?X-Amz-Signature=abc&part=1", "https://b.s3.example/x?X-Amz-Signature=***&part=1"),
        ("request with Authorization: Bearer abc.def failed", "request with Authorization: Bearer *** failed"),
        ("{'Authorization': 'Basic YTpi'}", "{'Authorization': 'Basic ***'}"),
        ("two: http://a:b@c/ and s3://d:e@f", "two: http://***@c/ and s3://***@f"),
    ],
)
def test_secrets_are_masked(text: str, clean: str) -> None:
    assert redacted(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:///mlflow/mlflow.db",
        "http://mlflow.svc:5000/path",
        "s3://bucket/a@b",
        "mail me@host about https://host/a?page=2",
        "max_new_tokens=48",
        "",
    ],
)
def test_text_without_a_secret_is_unchanged(text: str) -> None:
    assert redacted(text) == text


@given(secret=SECRETS, scheme=st.sampled_from(["http", "https", "postgresql+psycopg2", "s3"]))
def test_password_of_an_address_is_masked(secret: str, scheme: str) -> None:
    assert (
        secret not in redacted(f"could not reach {scheme}://ann:{secret}@host:5000/path, sorry").split("host:5000")[0]
    )


@given(st.text(max_size=80))
def test_masking_is_idempotent(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize("name", ["password", "storage.s3.secret_key", "aws/access_key", "mlflow.token", "api-key"])
def test_value_with_a_secret_name_is_masked(name: str) -> None:
    assert redacted_value(name, "abc") == "***"


@pytest.mark.parametrize("name", ["max_new_tokens", "tokens", "keys", "sink.token_id", "monkey"])
def test_value_with_a_similar_name_is_unchanged(name: str) -> None:
    assert redacted_value(name, 48) == "48"


def test_missing_secret_is_not_masked() -> None:
    assert redacted_value("password", None) == "None"
