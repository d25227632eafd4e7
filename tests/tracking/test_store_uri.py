import re

import pytest

from stages.core.errors import UserError
from stages.tracking.store_uri import default_store_uri, read_store_uri, resolve_store_uri, restore_secrets


@pytest.fixture
def copy(workspace, monkeypatch):
    """DVC's temporary copy of the main checkout, as current folder."""
    folder = workspace / ".dvc/tmp/exps/temp"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sqlite:///mlruns/mlflow.db", "sqlite:///{}/mlruns/mlflow.db"),
        ("sqlite:///./other.db", "sqlite:///{}/other.db"),
        ("sqlite+pysqlite:///other.db?timeout=9", "sqlite+pysqlite:///{}/other.db?timeout=9"),
        ("sqlite:///file:other.db?uri=true", "sqlite:///file:{}/other.db?uri=true"),
        ("file:mlruns", "file://{}/mlruns"),
        ("file:./my%20runs", "file://{}/my%20runs"),
        ("file://./mlruns", "file://{}/mlruns"),
        ("mlruns", "{}/mlruns"),
        ("./mlruns/", "{}/mlruns"),
    ],
)
def test_a_relative_path_starts_at_the_main_checkout(workspace, copy, monkeypatch, uri, expected):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert read_store_uri() == expected.format(workspace)
    assert resolve_store_uri(read_store_uri()) == read_store_uri()


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:////srv/mlflow.db", "sqlite:///:memory:", "sqlite://", "file:///srv/mlruns", "/srv/mlruns",
        "http://127.0.0.1:5000", "postgresql+psycopg2://me:secret@host/db", "databricks", "databricks://profile", "uc",
    ],
)  # fmt: skip
def test_other_stores_keep_their_address(copy, uri):
    assert resolve_store_uri(uri) == uri


@pytest.mark.parametrize("uri", [None, ""])
def test_without_the_variable_the_store_is_the_default_one(workspace, copy, monkeypatch, uri):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if uri is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert read_store_uri() is None
    assert default_store_uri() == f"sqlite:///{workspace}/mlruns/mlflow.db"


def test_the_readmes_variable_means_the_default_store(copy):
    assert resolve_store_uri("sqlite:///mlruns/mlflow.db") == default_store_uri()


HIDDEN = "http://***@host:5000/path"


@pytest.mark.parametrize(
    ("stored", "own", "expected"),
    [
        (HIDDEN, "http://me:secret@host:5000/path", "http://me:secret@host:5000/path"),
        (HIDDEN, "http://me:secret@other:5000/path", "http://host:5000/path"),
        (HIDDEN, None, "http://host:5000/path"),
        ("postgresql://***@host/db?ssl=***", "postgresql://me:s@host/db?ssl=x", "postgresql://me:s@host/db?ssl=x"),
        ("sqlite:////srv/mlflow.db", "http://me:secret@host", "sqlite:////srv/mlflow.db"),
        ("sqlite:////srv/a***b.db", None, "sqlite:////srv/a***b.db"),
    ],
)
def test_the_secrets_of_a_journals_store_come_from_the_environment(monkeypatch, stored, own, expected):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if own:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", own)
    assert restore_secrets(stored) == expected


@pytest.mark.parametrize("stored", ["postgresql://***@host/db", "http://host/path?token=***"])
def test_secrets_that_are_not_known_are_asked_for(monkeypatch, stored):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@other/db")
    with pytest.raises(UserError, match=re.escape(f"the secrets of {stored} are not stored; set MLFLOW_TRACKING_URI")):
        restore_secrets(stored)
