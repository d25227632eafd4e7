"""The experiment's page in MLflow: its description, and a view with the important columns and charts."""

import json

from stages.core.git import find_web_address

VIEW = "overview"
# Without workflowType MLflow opens its pages for GenAI, whatever the experiment's tags say.
ADDRESS = "#/experiments/{}/runs?workflowType=machine_learning&viewStateShareKey=" + VIEW
COLUMNS = (
    "attributes.`Description`",
    "metrics.`test/accuracy`",
    "metrics.`time/train_seconds`",
    "params.`train.freeze_layers`",
)
SECTIONS = (
    "study",
    "train",
    "validation",
    "test",
    "time",
    "features",
    "data",
    "data/leaks",
    "data/dropped",
    "System metrics",
)


def make_view_tags(experiment_id: str) -> dict[str, str]:
    """Make the experiment's tags that MLflow's page reads; the view has the format of MLflow's button `Share`."""
    shown = {"display": True, "isReordered": True, "deleted": False, "isGenerated": True}
    view = {
        "selectedColumns": COLUMNS,
        "compareRunCharts": [],  # empty: MLflow makes one chart for each metric
        "compareRunSections": [{"uuid": name, "name": name} | shown for name in SECTIONS],
        "isAccordionReordered": True,  # otherwise MLflow sorts the sections by name
    }
    readme = find_web_address("README.md")
    return {
        "mlflow.note.content": f"[Table and charts of the runs]({ADDRESS.format(experiment_id)}). "
        f"How the runs are made: {f'[README.md]({readme})' if readme else 'README.md'}",
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
    }
