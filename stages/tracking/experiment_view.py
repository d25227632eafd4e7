"""What MLflow's page of the experiment shows: a description, and a view with the columns and charts that matter."""

import json

from stages.core.git import web_address

VIEW = "overview"
# Without the parameter MLflow's pages are those for GenAI, whatever the experiment's tags say.
ADDRESS = "#/experiments/{}/runs?workflowType=machine_learning&viewStateShareKey=" + VIEW
COLUMNS = (
    "attributes.`Description`",
    "metrics.`test/accuracy`",
    "metrics.`time/train_seconds`",
    "params.`train.freeze_layers`",
)
SECTIONS = ("train", "validation", "test", "time", "frozen", "data", "data/leaks", "data/dropped", "System metrics")


def page_tags(experiment_id: str) -> dict[str, str]:
    """The experiment's tags that MLflow's page reads; the view is kept as its own button `Share` keeps one."""
    shown = {"display": True, "isReordered": True, "deleted": False, "isGenerated": True}
    view = {
        "selectedColumns": COLUMNS,
        "compareRunCharts": [],  # none of one's own: one for each metric
        "compareRunSections": [{"uuid": name, "name": name} | shown for name in SECTIONS],
        "isAccordionReordered": True,  # else they are sorted by name
    }
    readme = web_address("README.md")
    return {
        "mlflow.note.content": f"[Table and charts of the runs]({ADDRESS.format(experiment_id)}). How they are made: "
        + (f"[README.md]({readme})" if readme else "README.md"),
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
    }
