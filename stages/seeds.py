"""Train with several seeds, and say how much of a result is due to the seed.

python -m stages.seeds --count 5

The numbers are of validation; the test split is not touched. The report and the gate use them.
"""

import argparse
from functools import partial
from typing import Any

from stages.core.arguments import count
from stages.core.errors import UserError
from stages.core.files import main_checkout, read_json, write_json
from stages.core.gpu_slots import take_gpu
from stages.core.params import Params
from stages.core.paths import SEED_SPREAD, STATISTICS, STUDY_REPORTS
from stages.core.secrets import redact_output
from stages.core.stage import report_errors
from stages.core.study_files import SEED, drop_seed, make_study_key
from stages.core.sweep_space import Dimension
from stages.report.seeds_page import make_seeds_page
from stages.report.study_facts import describe_study
from stages.report.study_page import write_study
from stages.studies.progress import run_plan
from stages.studies.seed_spread import smallest_clear_difference, summarize_seeds
from stages.studies.study import RESULT, Outcome, Study, find_storage, name_study
from stages.tracking.provenance import make_run_tags
from stages.tracking.run import confirm_finished
from stages.tracking.study_run import TrialLogger, open_study_run
from stages.training.trials import Trials

SPACE = {SEED: Dimension(0, 2**32 - 1)}
METRICS = ("accuracy", "f1_micro", "f1_macro", "precision_macro", "recall_macro", "loss")  # those that the task has


def main() -> None:
    arguments = parse_arguments()
    params = Params.load()
    statistics = read_json(STATISTICS, ["tokenized_sha256", "raw_sha256", "splits"])
    take_gpu()
    trials = Trials.open(params.cache)
    key = make_seeds_key(params, statistics)
    study = Study(name_study("seeds", key), find_storage(None), lower_is_better=False, seed=params.seed)
    plan = [{SEED: params.train_seed + number} for number in range(arguments.count)]
    tags = make_run_tags(statistics, params.flat())
    with (
        study.claim() as is_owner,
        open_study_run(is_owner, params.tracking, "seeds", study.name, params.flat(), tags) as logger,
    ):
        train_all(study, trials, params, plan, logger)
        if logger:
            write_reports(study, params, statistics, key, plan, logger)
    confirm_finished()


def make_seeds_key(params: Params, statistics: dict[str, Any]) -> dict[str, Any]:
    """What decides the results besides the seed."""
    return make_study_key(drop_seed(params.flat_train()), statistics["tokenized_sha256"])


def train_all(
    study: Study, trials: Trials, params: Params, plan: list[dict[str, Any]], logger: TrialLogger | None
) -> None:
    """Train with each seed, and log those that are finished."""

    def log(number: int, changes: dict[str, Any], result: dict[str, Any]) -> None:
        if logger:
            logger.log(number, params.change_train(changes).flat_train(), result)

    run_plan(study, partial(run_trial, trials, params), SPACE, plan, "seeds", "accuracy", log)


def run_trial(trials: Trials, params: Params, changes: dict[str, Any], should_stop: Any) -> Outcome:
    changed = params.change_train(changes)
    training = trials.run(changed.train, changed.train_seed)
    return Outcome(training.best["accuracy"], training.describe())


def write_reports(
    study: Study,
    params: Params,
    statistics: dict[str, Any],
    key: dict[str, Any],
    plan: list[dict[str, Any]],
    logger: TrialLogger,
) -> None:
    """Write page, table and the spread that report and gate read; log the means."""
    found = {trial.params[SEED]: trial.user_attrs[RESULT] for trial in study.trials("COMPLETE")}
    results = {params_of_one[SEED]: found[params_of_one[SEED]] for params_of_one in plan}
    scores = [result["best"] for result in results.values()]
    values = {metric: [score[metric] for score in scores] for metric in METRICS if metric in scores[0]}
    spreads = summarize_seeds(values)
    facts = describe_study(params.flat(), statistics)
    page = make_seeds_page(study.name, results, spreads, facts)
    files = write_study(main_checkout() / STUDY_REPORTS, "seeds", page)
    clear = {one.metric: smallest_clear_difference(one.std, len(plan)) for one in spreads}
    summary = {one.metric: one._asdict() | {"clear_difference": clear[one.metric]} for one in spreads}
    write_json(main_checkout() / SEED_SPREAD, {"key": key, "count": len(plan), "metrics": summary})
    logger.log_scores({f"mean_{one.metric}": one.mean for one in spreads}, files)
    for line in page.answer:
        print(line)
    print(f"{files[0]}: all seeds")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.seeds", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=count, default=5, help="number of seeds, from that of params.yaml on (5)")
    arguments = parser.parse_args()
    if arguments.count < 2:
        raise UserError(f"--count: found {arguments.count}; at least two seeds are needed to say how much they differ.")
    return arguments


if __name__ == "__main__":
    with report_errors("seeds"):
        redact_output()
        main()
