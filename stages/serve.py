"""Serve a model over HTTP by MLflow's server, with limits on what one request may ask for.

python -m stages.serve [--model models:/text-classifier@champion] [--port 5001]

POST /invocations answers texts as `mlflow models serve` does; GET /health and GET /version say that it runs, and by
which MLflow. After SIGTERM it takes no new requests, answers those that it has, and ends with exit code 0.
"""

import argparse
import contextlib
from pathlib import Path

import mlflow
import uvicorn
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel, scoring_server

from stages.core.arguments import count, megabytes, port
from stages.core.errors import UserError, to_one_line
from stages.core.request_limits import REQUEST_LIMITS
from stages.core.stage import report_errors
from stages.inference.body_limit import BodyLimit, refuse_long_number, refuse_nesting
from stages.tracking.store_uri import default_store_uri, read_store_uri

MAX_MB = 2  # in JSON a character may take six bytes
GRACE_SECONDS = 65  # enough for all: after 60 MLflow answers 504 (MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT)


def main() -> None:
    arguments = parse_arguments()
    model = load_model(arguments.model, arguments.max_texts)
    app = scoring_server.init(model)
    app.add_exception_handler(RecursionError, refuse_nesting)
    app.add_exception_handler(ValueError, refuse_long_number)
    app.add_middleware(BodyLimit, max_bytes=arguments.max_bytes)
    with contextlib.suppress(KeyboardInterrupt):  # of SIGTERM and Ctrl-C, which uvicorn raises again at its end
        uvicorn.run(
            app,
            host=arguments.host,
            port=arguments.port,
            limit_concurrency=arguments.max_connections,
            timeout_graceful_shutdown=arguments.grace_seconds,
        )


def load_model(uri: str, max_texts: int) -> PyFuncModel:
    """A model of MLflow, or a folder with one; UserError when there is none."""
    if not Path(uri).is_dir():
        mlflow.set_tracking_uri(read_store_uri() or default_store_uri())
    try:
        return mlflow.pyfunc.load_model(uri, model_config={"max_texts": max_texts})
    except MlflowException as error:
        raise UserError(f"--model {uri}: cannot be loaded ({to_one_line(error.message)}).") from None


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.serve", description=__doc__.splitlines()[0])
    champion = "models:/text-classifier@champion"
    parser.add_argument("--model", default=champion, help=f"MLflow URI or model folder (default: {champion})")
    parser.add_argument("--host", default="127.0.0.1", help="127.0.0.1, the default: this machine only; 0.0.0.0: all")
    parser.add_argument("--port", type=port, default=5001)
    size = f"of a request (default: {MAX_MB})"
    parser.add_argument("--max-mb", dest="max_bytes", metavar="MB", type=megabytes, default=str(MAX_MB), help=size)
    most = REQUEST_LIMITS["max_texts"]
    parser.add_argument("--max-texts", type=count, default=most, help=f"of a request (default: {most})")
    parser.add_argument("--max-connections", type=count, default=100, help="at once; others get 503 (default: 100)")
    grace = f"for requests that run at SIGTERM (default: {GRACE_SECONDS})"
    parser.add_argument("--grace-seconds", type=count, default=GRACE_SECONDS, help=grace)
    return parser.parse_args()


if __name__ == "__main__":
    with report_errors("serve"):
        main()
