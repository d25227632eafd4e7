"""The classifier as MLflow loads and serves it: this file, logged with the model folder and the package `stages`."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import environment_variables
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from stages.core.errors import UserError
from stages.core.hardware import resolve_precision
from stages.core.request_limits import REQUEST_LIMITS, check_size
from stages.inference.output_columns import Answer


class ServedClassifier(PythonModel):
    """Returns the fields of `Answer` for each text, or pair of texts."""

    def load_context(self, context: Any) -> None:
        # MLflow runs this file when it logs a model, too, and the libraries would take 4 seconds then.
        from stages.inference.exported_folder import is_exported
        from stages.inference.loading import load_predictor

        folder = Path(context.artifacts["classifier"])
        precision = "fp32" if is_exported(folder) else choose_precision(context.model_config["precision"])
        self.predictor = load_predictor(folder, precision)
        self.limits = {key: context.model_config.get(key, most) for key, most in REQUEST_LIMITS.items()}

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """`model_input` has one column, or two for pairs; a row that cannot be used is HTTP status 400.

        So is a request that is too large. Only MLflow's server has these limits: from Python and Spark all rows come at
        once, however many.
        """
        texts = [row if len(row) > 1 else row[0] for row in model_input.itertuples(index=False, name=None)]
        locations = [f"input {number}" for number in range(1, len(texts) + 1)]
        try:
            if environment_variables._MLFLOW_IS_IN_SERVING_ENVIRONMENT.get():
                check_size(texts, **self.limits)
            answers = self.predictor.predict(texts, locations)
        except UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        return pd.DataFrame(answers, columns=Answer._fields)


def choose_precision(wanted: str) -> str:
    """The precision in which the model was evaluated; with a warning `auto`, where this machine does not support it."""
    try:
        return resolve_precision("evaluate.precision", wanted)
    except UserError as error:
        print(f"warning: {error} The model is served in auto.", file=sys.stderr)
        return "auto"


set_model(ServedClassifier())
