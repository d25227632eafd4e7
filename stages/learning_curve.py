"""Train on parts of the training rows, and say what more of them would bring.

python -m stages.learning_curve

Trains on 1/16, 1/8, 1/4, 1/2 and all of the rows, each with several draws, and fits a power law to their scores on
validation. The test split is not touched.
"""

import argparse
from functools import partial
from typing import Any

import numpy as np

from stages.core.arguments import count
from stages.core.errors import UserError
from stages.core.files import main_checkout, read_json
from stages.core.gpu_slots import take_gpu
from stages.core.metric_names import LOWER_IS_BETTER
from stages.core.params import Params
from stages.core.paths import RAW, STATISTICS, STUDY_REPORTS
from stages.core.secrets import redact_output
from stages.core.stage import report_errors
from stages.core.study_files import make_study_key
from stages.core.sweep_space import Dimension
from stages.data.sampling import sample_groups, stratified_sample
from stages.report.learning_curve_page import make_learning_curve_page
from stages.report.study_facts import describe_study
from stages.report.study_page import write_study
from stages.studies.power_law import describe_gain, fit_power_law
from stages.studies.progress import run_plan
from stages.studies.study import RESULT, Outcome, Study, find_storage, name_study
from stages.text.encoding import read_groups
from stages.text.windows import find_first_windows
from stages.tracking.provenance import make_run_tags
from stages.tracking.run import confirm_finished
from stages.tracking.study_run import TrialLogger, open_study_run
from stages.training.trials import Trials

ROWS, DRAW = "rows", "draw"
SPACE = {ROWS: Dimension(1, 2**31 - 1), DRAW: Dimension(0, 2**31 - 1)}
HALVINGS = 4


def main() -> None:
    arguments = parse_arguments()
    params = Params.load()
    statistics = read_json(STATISTICS, ["tokenized_sha256", "raw_sha256", "splits"])
    take_gpu()
    trials = Trials.open(params.cache)
    key = make_study_key(params.flat_train(), statistics["tokenized_sha256"], sampling=params.seed)
    metric = params.train.metric_for_best_model
    study = Study(name_study("learning-curve", key), find_storage(None), metric in LOWER_IS_BETTER, params.seed)
    plan = make_plan(statistics["splits"]["train"]["rows"], len(trials.labels), arguments.draws)
    tags = make_run_tags(statistics, params.flat())
    with (
        study.claim() as is_owner,
        open_study_run(is_owner, params.tracking, "learning curve", study.name, params.flat(), tags) as logger,
    ):
        train_all(study, trials, params, plan, logger)
        if logger:
            write_reports(study, params, statistics, plan, logger)
    confirm_finished()


def make_plan(rows: int, classes: int, draws: int) -> list[dict[str, int]]:
    """The number of rows and of the draw of each training, smallest first; UserError when there are too few rows."""
    sizes = [rows >> halvings for halvings in range(HALVINGS, -1, -1)]
    needed = classes * 2 << HALVINGS
    if rows < needed:
        raise UserError(
            f"data: found {rows:,} rows to train and {classes} classes; a learning curve needs {needed:,}, so that "
            f"its smallest part, a {1 << HALVINGS}th, has two for each class."
        )
    return [{ROWS: size, DRAW: draw} for size in sizes for draw in range(draws)]


def train_all(
    study: Study, trials: Trials, params: Params, plan: list[dict[str, int]], logger: TrialLogger | None
) -> None:
    """Train on each part, and log those that are finished."""
    names = read_groups(RAW / "train.parquet")
    groups = None if names is None else np.array(names)

    def log(number: int, part: dict[str, Any], result: dict[str, Any]) -> None:
        if logger:
            logger.log(number, params.flat_train() | part, result)

    train = partial(run_trial, trials, params, groups)
    run_plan(study, train, SPACE, plan, "trainings", params.train.metric_for_best_model, log)


def run_trial(
    trials: Trials, params: Params, groups: np.ndarray | None, part: dict[str, int], should_stop: Any
) -> Outcome:
    """Train on a stratified sample of the rows; each draw has other rows and another seed of the training.

    Where rows have groups, such as authors, complete groups are drawn: more data would bring new ones.
    """
    changed = params.change_train({"train.seed": (params.train_seed + part[DRAW]) % 2**32})
    all_rows = trials.prepare(changed.train, changed.train_seed).inputs.rows["train"]
    first = find_first_windows(all_rows.documents)
    draw_seed = (params.seed + part[DRAW]) % 2**32
    if groups is None:
        chosen = stratified_sample(all_rows.labels[first], part[ROWS], draw_seed)
    else:
        chosen = sample_groups(groups, part[ROWS], draw_seed)
    rows = np.flatnonzero(np.isin(all_rows.documents, all_rows.documents[first][chosen]))
    training = trials.run(changed.train, changed.train_seed, {"train": rows})
    return Outcome(training.best[params.train.metric_for_best_model], training.describe())


def write_reports(
    study: Study, params: Params, statistics: dict[str, Any], plan: list[dict[str, int]], logger: TrialLogger
) -> None:
    """Fit the power law; write page and table, and log what twice the rows would bring."""
    metric = params.train.metric_for_best_model
    found = {(one.params[ROWS], one.params[DRAW]): one.user_attrs[RESULT] for one in study.trials("COMPLETE")}
    results = [(part, found[part[ROWS], part[DRAW]]) for part in plan]
    sizes = np.array([part[ROWS] for part, _ in results])
    scores = np.array([result["best"][metric] for _, result in results])
    law = fit_power_law(sizes, scores, metric in LOWER_IS_BETTER, params.seed)
    largest = int(sizes.max())
    facts = describe_study(params.flat(), statistics)
    at = np.unique(np.geomspace(sizes.min(), 2 * largest, 60).round().astype(int))
    page = make_learning_curve_page(
        study.name,
        metric,
        results,
        describe_gain(law, 2 * largest, metric),
        (at, law.predict(at), law.interval(at)),
        facts,
    )
    files = write_study(main_checkout() / STUDY_REPORTS, "learning_curve", page)
    twice = np.array([2 * largest])
    low, high = law.interval(twice)[:, 0]
    gain = {"twice_the_rows": float(law.predict(twice)[0]), "twice_the_rows_low": low, "twice_the_rows_high": high}
    logger.log_scores({name: float(value) for name, value in gain.items()}, files)
    for line in page.answer:
        print(line)
    print(f"{files[0]}: the curve")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.learning_curve", description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=count, default=3, help="trainings with each number of rows (3)")
    return parser.parse_args()


if __name__ == "__main__":
    with report_errors("learning curve"):
        redact_output()
        main()
