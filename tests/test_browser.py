"""MLflow's pages, as a user sees them."""

import re

import pytest
from support.browser import CHROMIUM, open_page, serve_mlflow_ui

from stages.tracking.experiment_view import ADDRESS

pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]'")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium")


@pytest.fixture(scope="module")
def checkout(experimented):
    """Two runs: of the commit, and of an experiment with a frozen layer."""
    return experimented


@pytest.fixture(scope="module")
def site(checkout):
    with serve_mlflow_ui(checkout.folder) as address:
        yield address


@pytest.fixture
def page():
    with open_page() as page:
        yield page


def column(page, name):
    """What a column of the runs table shows, from the top."""
    cells = page.locator(f'[role=gridcell][col-id="{name}"]')
    cells.first.wait_for()
    return cells.all_inner_texts()


def test_the_table_shows_accuracy_seconds_and_frozen_layers_of_two_runs(checkout, site, page):
    page.goto(site + ADDRESS.format(1))
    runs = checkout.runs()[::-1]  # the newest comes first
    assert column(page, "params.`train.freeze_layers`") == ["1", "0"]
    for name in ("test/accuracy", "time/train_seconds"):
        shown = [float(value) for value in column(page, f"metrics.`{name}`")]
        assert shown == pytest.approx([run.data.metrics[name] for run in runs], rel=1e-3)
    assert "`train.freeze_layers`: 1, was 0" in column(page, "attributes.`Description`")[0]


def test_charts_of_the_runs_are_in_the_order_of_the_stages(site, page):
    page.goto(site + ADDRESS.format(1) + "&compareRunsMode=CHART")
    page.locator(".js-plotly-plot").first.wait_for()
    groups = ("train", "validation", "test")
    places = [page.get_by_text(re.compile(rf"^{group} ?\(\d+\)$")).first.bounding_box()["y"] for group in groups]
    assert places == sorted(places)


def test_two_runs_are_compared(checkout, site, page):
    runs = checkout.runs()
    ids = "%22,%22".join(run.info.run_id for run in runs)
    page.goto(f"{site}#/compare-runs?runs=[%22{ids}%22]&experiments=[%221%22]")
    page.get_by_text("Comparing 2 Runs from 1 Experiment").first.wait_for()
    page.locator(".js-plotly-plot").first.wait_for()
    for run in runs:
        page.get_by_text(run.info.run_name).first.wait_for()


def test_the_confusion_matrix_is_shown(checkout, site, page):
    run = checkout.runs()[0].info.run_id
    page.goto(f"{site}#/experiments/1/runs/{run}/artifacts/plots/confusion_matrix.png")
    page.wait_for_function("[...document.images].some(image => image.naturalWidth > 400)")


def test_the_mistakes_are_shown_as_a_table(checkout, site, page):
    run = checkout.runs()[0].info.run_id
    page.goto(f"{site}#/experiments/1/runs/{run}/artifacts/reports/mistakes.csv")
    page.get_by_role("columnheader", name="confidence").wait_for()


def test_the_experiment_links_to_its_view(site, page):
    page.goto(site + "#/experiments/1")
    link = page.locator("a", has_text="Table and charts of the runs")  # by role it is hidden while a hint is open
    page.goto(site + link.get_attribute("href"))
    assert column(page, "params.`train.freeze_layers`") == ["1", "0"]
