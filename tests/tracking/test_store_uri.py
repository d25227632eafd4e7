import pytest

from stages.tracking.store_uri import default_store_uri, read_store_uri, resolve_store_uri


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
