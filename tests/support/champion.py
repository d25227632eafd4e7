"""The model of a finished run as the champion of MLflow's registry."""

import mlflow
from support.checkout import Checkout


def make_champion(checkout: Checkout) -> str:
    """Register the model of the checkout's only run; return its URI. Its store is that of MLFLOW_TRACKING_URI then."""
    (run,) = checkout.runs()
    client, name = mlflow.MlflowClient(), "text-classifier"
    model_id = run.outputs.model_outputs[0].model_id
    client.create_registered_model(name)
    version = client.create_model_version(name, f"models:/{model_id}", run.info.run_id, model_id=model_id)
    client.set_registered_model_alias(name, "champion", version.version)
    return f"models:/{name}@champion"
