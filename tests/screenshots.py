"""Take the pictures of the README again, from the runs that are in this checkout's MLflow store and DVC.

python tests/screenshots.py      # after dvc repro and two dvc exp run; DVC's page loads its scripts from the network
"""

import subprocess
from pathlib import Path
from typing import Any

import mlflow
from browser import browser, mlflow_ui

from stages.lib.experiment_page import ADDRESS

ROOT = Path(__file__).parent.parent


def main() -> None:
    mlflow.set_tracking_uri(f"sqlite:///{ROOT}/mlruns/mlflow.db")
    (experiment,) = mlflow.search_experiments(filter_string="name = 'text-classifier'")
    runs = mlflow.search_runs([experiment.experiment_id], order_by=["attributes.start_time"], output_format="list")
    run = f"#/experiments/{experiment.experiment_id}/runs/{runs[0].info.run_id}"
    view = ADDRESS.format(experiment.experiment_id)
    with mlflow_ui(ROOT) as site, browser(1500, 560) as page:
        take(page, site + view, "mlflow-runs", "[col-id='attributes.`Description`']")
        take(
            page,
            f"{site}{run}/artifacts/plots/confusion_matrix.png",
            "mlflow-confusion-matrix",
            "img",
            height=760,
            top=195,
        )
        take(page, f"{site}{view}&compareRunsMode=CHART", "mlflow-charts", ".js-plotly-plot", height=1000)
    subprocess.run(["dvc", "plots", "diff", "HEAD", *names(runs[1:])], cwd=ROOT, check=True)
    with browser(1500, 1000) as page:
        take(page, (ROOT / "dvc_plots/index.html").as_uri(), "dvc-plots", "canvas, svg", height=1250)


def names(runs: list[Any]) -> list[str]:
    return [run.data.tags["dvc.exp_name"] for run in runs]


def take(page: Any, address: str, name: str, awaited: str, height: int | None = None, top: int = 0) -> None:
    """Write docs/<name>.png of a page, once something is seen there; MLflow's assistant is closed first.

    What is above `top` is left out: it shows where the folder is on this machine.
    """
    page.set_viewport_size({"width": 1500, "height": height or page.viewport_size["height"]})
    page.goto(address)
    page.locator(awaited).first.wait_for()
    for label in ("Close", "Hide banner"):
        if page.get_by_label(label, exact=True).count():
            page.get_by_label(label, exact=True).first.click()
    page.wait_for_timeout(3000)  # for what moves
    size = page.viewport_size
    clip = {"x": 0, "y": top, "width": size["width"], "height": size["height"] - top}
    page.screenshot(path=ROOT / f"docs/{name}.png", clip=clip)


if __name__ == "__main__":
    main()
