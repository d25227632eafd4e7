"""The classifier as MLflow loads and serves it: logged as this code, with the model folder and our parts beside it."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from stages.core.errors import UserError
from stages.inference.predictor import Answer, Predictor


class ServedClassifier(PythonModel):
    """Answers each text, or pair of texts, with `label`, `probability` and `truncated`."""

    def load_context(self, context: Any) -> None:
        self.predictor = Predictor(Path(context.artifacts["classifier"]), **context.model_config)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """`model_input` has one column, or two for pairs; an unusable row is answered with HTTP status 400."""
        texts = [row if len(row) > 1 else row[0] for row in model_input.itertuples(index=False, name=None)]
        try:
            answers = self.predictor.predict(texts, [f"input {number}" for number in range(1, len(texts) + 1)])
        except UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        return pd.DataFrame(answers, columns=Answer._fields)


set_model(ServedClassifier())
