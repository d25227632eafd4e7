"""Search the params of `train` that the section `sweep` of `params.yaml` names; run the best as a DVC experiment.

python -m stages.sweep --trials 100

Validation chooses. Trials are short trainings in this process; the test split is touched once, by the experiment of the
best trial. An interrupted search goes on where it was; the same command on another machine, with the same --storage,
joins it.
"""

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from stages.core.arguments import count, minutes
from stages.core.errors import UserError
from stages.core.files import main_checkout, read_json
from stages.core.gpu_slots import return_gpu, take_gpu
from stages.core.metric_names import LOWER_IS_BETTER
from stages.core.params import Params
from stages.core.paths import PARAMS, STATISTICS, STUDY_REPORTS, TEST_METRICS, TRAIN_METRICS
from stages.core.secrets import redact_output
from stages.core.stage import report_errors
from stages.core.study_files import make_study_key
from stages.core.sweep_space import ALLOWED
from stages.report.study_facts import describe_study
from stages.report.study_page import write_study
from stages.report.sweep_page import SearchedTrial, make_sweep_page
from stages.studies.progress import run_search
from stages.studies.search_space import choose_from, write_overrides
from stages.studies.study import RESULT, STORAGE_VARIABLE, Outcome, Study, find_storage, name_study
from stages.tracking.provenance import make_run_tags
from stages.tracking.run import confirm_finished
from stages.tracking.study_run import TrialLogger, open_study_run
from stages.training.trainer import DivergedError
from stages.training.trials import StopWhen, Trials, describe_diverged

WINNER = "winner"  # the user attribute of a study with its best trial and the numbers of that one's experiment


def main() -> None:
    arguments = parse_arguments()
    params = Params.load()
    if not params.sweep:
        raise UserError(f"{PARAMS}: sweep is empty; add params of train, each with {ALLOWED}.")
    statistics = read_json(STATISTICS, ["tokenized_sha256", "raw_sha256", "splits"])
    take_gpu()
    trials = Trials.open(params.cache)
    study = open_sweep(params, statistics, arguments.storage)
    tags = make_run_tags(statistics, params.flat())
    with (
        study.claim() as is_owner,
        open_study_run(is_owner, params.tracking, "sweep", study.name, params.flat(), tags) as logger,
    ):
        if is_owner:
            enqueue_current(study, trials, params)
        search(study, trials, params, arguments.trials, arguments.minutes, logger)
        if logger and not arguments.no_experiment:
            trials.forget()
            return_gpu()
            run_winner(study)
        if logger:
            write_reports(study, params, statistics, logger)
    confirm_finished()


def open_sweep(params: Params, statistics: dict[str, Any], storage: str | None) -> Study:
    """The study of these data, base model and params, but for those that are searched."""
    fixed = {key: value for key, value in params.flat_train().items() if key not in params.sweep}
    key = make_study_key(fixed, statistics["tokenized_sha256"], space=params.sweep)
    lower_is_better = params.train.metric_for_best_model in LOWER_IS_BETTER
    return Study(name_study("sweep", key), find_storage(storage), lower_is_better, params.train_seed)


def enqueue_current(study: Study, trials: Trials, params: Params) -> None:
    """Let a new search begin with the present params, if it could choose them: the best trial is then no worse."""
    resolved = trials.resolve(params.train, params.train_seed)
    values = {key: getattr(resolved, key.removeprefix("train.")) for key in params.sweep}
    current = choose_from(params.sweep, values)
    if current and not study.trials("WAITING", "RUNNING", "COMPLETE", "PRUNED", "FAIL"):
        study.study.enqueue_trial(current)


def search(
    study: Study, trials: Trials, params: Params, total: int, minutes: float, logger: TrialLogger | None
) -> None:
    """Run trials until there are `total`, and log those that are finished."""

    def log(number: int, changes: dict[str, Any], result: dict[str, Any]) -> None:
        if logger:
            logger.log(number, params.change_train(changes).flat_train(), result)

    metric = params.train.metric_for_best_model
    run_search(study, partial(run_trial, trials, params), params.sweep, total, minutes, metric, log)


def run_trial(
    trials: Trials, params: Params, changes: dict[str, Any], should_stop: Callable[[int, float], bool]
) -> Outcome:
    """Train with changed params; the score is that of `train.metric_for_best_model` on validation."""
    changed, started = params.change_train(changes), time.time()
    metric = changed.train.metric_for_best_model
    # The number of the validation, and not its step: trials with other batch sizes are compared at the same share.
    callback = StopWhen(lambda number, metrics: should_stop(number, metrics[metric]))
    try:
        training = trials.run(changed.train, changed.train_seed, callbacks=[callback])
    except DivergedError as error:
        return Outcome(None, describe_diverged(error, started))
    return Outcome(None if callback.stopped else training.best[metric], training.describe(callback.stopped))


def run_winner(study: Study) -> None:
    """Run the best trial as a DVC experiment, if that was not done; warn when its validation is another."""
    best = study.best
    if best is None:
        raise UserError(f"{study.name}: no trial is complete, so that there is no best one.")
    if study.study.user_attrs.get(WINNER, {}).get("trial") == best.number:
        return
    name = f"{study.name}-{best.number}"
    changes = [part for override in write_overrides(best.params) for part in ("-S", override)]
    command = ["exp", "run", "-f", "-n", name, *changes]
    print(f"\nthe best trial as an experiment: dvc {shlex.join(command)}\n", flush=True)
    if subprocess.run([sys.executable, "-m", "dvc", *command], check=False).returncode:
        raise UserError(f"dvc exp run failed; its messages are above. Run this command again: it runs only {name}.")
    found, expected = read_json(TRAIN_METRICS), best.user_attrs[RESULT]["best"]
    for metric in ("accuracy", "loss"):
        if found[f"validation_{metric}"] != expected[metric]:
            print(
                f"warning: validation {metric} is {found[f'validation_{metric}']}, and was {expected[metric]} in the "
                f"trial, on a processor which computes as {best.user_attrs[RESULT]['processor']}",
                file=sys.stderr,
            )
    winner = {"trial": best.number, "experiment": name, "test": read_json(TEST_METRICS)}
    study.study.set_user_attr(WINNER, winner)


def write_reports(study: Study, params: Params, statistics: dict[str, Any], logger: TrialLogger) -> None:
    """Write the page and the table, and log them with the best scores."""
    metric, best = params.train.metric_for_best_model, study.best
    if best is None:
        raise UserError(f"{study.name}: no trial is complete; run more of them with --trials or --minutes.")
    winner = study.study.user_attrs.get(WINNER)
    complete = {one.number: one.value for one in study.trials("COMPLETE")}
    trials = [
        SearchedTrial(one.number, one.params, complete.get(one.number), one.user_attrs[RESULT])
        for one in study.finished
    ]
    facts = describe_study(params.flat(), statistics)
    page = make_sweep_page(study.name, trials, params.sweep, study.importance(), metric, facts, winner)
    files = write_study(main_checkout() / STUDY_REPORTS, "sweep", page)
    scores = {f"best_{name}": value for name, value in best.user_attrs[RESULT]["best"].items()}
    logger.log_scores(scores | {"trials": len(study.finished)}, files)
    for line in page.answer:
        print(line)
    print(f"{files[0]}: all trials")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.sweep", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--trials", type=count, default=100, help="trials in all, those of earlier calls included (100)"
    )
    parser.add_argument("--minutes", type=minutes, default=float("inf"), help="begin no trial after so many minutes")
    parser.add_argument("--storage", metavar="URL", help=f"an Optuna storage (else ${STORAGE_VARIABLE}, else a file)")
    parser.add_argument("--no-experiment", action="store_true", help="do not run the best trial as a DVC experiment")
    return parser.parse_args()


if __name__ == "__main__":
    with report_errors("sweep"):
        redact_output()
        main()
