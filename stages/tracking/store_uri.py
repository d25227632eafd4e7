"""The address of MLflow's tracking store, as the user gives it in MLFLOW_TRACKING_URI. Nothing here imports MLflow.

Journals and messages have it without its secrets, which a process that sends takes from its environment again.
"""

import os
import re
from urllib.parse import unquote, urlsplit

from stages.core.errors import UserError
from stages.core.files import main_checkout, resolve_path
from stages.core.secrets import HIDDEN, redact

# The path that follows three slashes is relative; `file:` before it is SQLite's own kind of URI.
SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(file:)?(?!file:)([^/?:][^?]*)(\?.*)?")
NAMES = {"databricks", "databricks-uc", "uc"}  # which MLflow knows, and which are no paths
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def default_store_uri() -> str:
    """SQLite under `mlruns/` of the main checkout."""
    return f"sqlite:///{main_checkout() / 'mlruns' / 'mlflow.db'}"


def read_store_uri() -> str | None:
    """The store that MLFLOW_TRACKING_URI names, with an absolute path; None for the default store."""
    return resolve_store_uri(os.environ.get("MLFLOW_TRACKING_URI"))


def resolve_store_uri(uri: str | None) -> str | None:
    """The same store with an absolute path: a relative one starts at the main checkout.

    MLflow would start at the current folder, which for experiments of `--temp` and `--queue` is a copy of the checkout
    that DVC deletes.
    """
    if not uri:
        return None
    if match := SQLITE.fullmatch(uri):
        scheme, prefix, path, query = match.groups("")
        return f"{scheme}{prefix}{resolve_path(path)}{query}"
    if uri.startswith("file:"):
        path = unquote(urlsplit(uri).path)
        is_relative = urlsplit(uri).netloc == "." or not path.startswith("/")
        return resolve_path(path.lstrip("/")).as_uri() if is_relative else uri
    if ":" in uri or uri in NAMES:
        return uri
    return str(resolve_path(uri))


def find_artifact_root(uri: str) -> str | None:
    """Where a new experiment keeps its files: `mlruns/artifacts` of the main checkout for a database, which would take
    a folder of the current one; None for a server, which has a place of its own.
    """
    return (main_checkout() / "mlruns" / "artifacts").as_uri() if uri.startswith(DATABASES) else None


def describe_store(uri: str | None) -> str:
    """How messages name a store."""
    return redact(uri) if uri else "mlruns"


def restore_secrets(uri: str) -> str:
    """The address of a journal with the secrets that were left out: those of MLFLOW_TRACKING_URI, if it is the same.

    Without them MLflow itself uses MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD and MLFLOW_TRACKING_TOKEN for a
    server. UserError when another kind of store, or a query, needs secrets that are not known here.
    """
    own = read_store_uri()
    if own and redact(own) == redact(uri):
        return own
    known = uri.replace(f"://{HIDDEN}@", "://") if uri.startswith("http") else uri
    if f"://{HIDDEN}@" in known or f"={HIDDEN}" in known or f"?{HIDDEN}" in known:
        raise UserError(f"the secrets of {uri} are not stored; set MLFLOW_TRACKING_URI to this address with them")
    return known
