"""Find rows of train and validation whose label is probably wrong.

python -m stages.label_issues

Each row is judged by a model that was not trained on it (cross-validation), and labels are compared with its
probabilities by confident learning. Rows with equal texts, or of one group, are judged together. The test split is not
touched.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset, concatenate_datasets

from stages.core.arguments import count
from stages.core.csv_tables import write_csv
from stages.core.errors import UserError
from stages.core.files import cache_dir, main_checkout, new_file, read_json, write_json
from stages.core.gpu_slots import take_gpu
from stages.core.param_types import LARGEST
from stages.core.params import Params
from stages.core.paths import LABEL_ISSUES, LABEL_SUMMARY, RAW, STATISTICS, STUDY_REPORTS
from stages.core.secrets import redact_output
from stages.core.stage import report_errors
from stages.core.study_files import make_study_key
from stages.core.sweep_space import Dimension
from stages.evaluation.predictions import make_predictions
from stages.report.label_issues_page import COLUMNS, list_issues, make_label_issues_page
from stages.report.study_facts import describe_study
from stages.report.study_page import write_study
from stages.report.summary import MOST_CHARACTERS
from stages.studies.label_quality import agrees, find_label_issues, join_groups, make_folds, score_labels
from stages.studies.progress import run_plan
from stages.studies.study import Outcome, Study, find_storage, name_study
from stages.text.batches import RowDataset
from stages.text.encoding import read_groups, read_raw_texts
from stages.text.windows import find_first_windows
from stages.tracking.provenance import make_run_tags
from stages.tracking.run import confirm_finished
from stages.tracking.study_run import TrialLogger, open_study_run
from stages.training.trials import Trials

SPLITS = ("train", "validation")
FOLD = "fold"
SPACE = {FOLD: Dimension(0, LARGEST)}
SHOWN_IN_REPORT = 10


class Judged(NamedTuple):
    """The documents of both splits, N in all."""

    labels: np.ndarray  # (N,), or (N, C) where a document may have several
    folds: np.ndarray  # (N,)
    documents: np.ndarray  # the document of each row, which is one or a window of one
    folder: Path  # where the probabilities of each fold are kept


def main() -> None:
    arguments = parse_arguments()
    params = Params.load()
    statistics = read_json(STATISTICS, ["tokenized_sha256", "raw_sha256", "splits"])
    take_gpu()
    trials = Trials.open(params.cache)
    pool_splits(trials)
    folds = {"folds": arguments.folds, "seed": params.seed}
    key = make_study_key(params.flat_train(), statistics["tokenized_sha256"], **folds)
    study = Study(name_study("label-issues", key), find_storage(None), lower_is_better=False, seed=params.seed)
    rows = trials.prepare(params.train, params.train_seed).inputs.rows["train"]
    judged = divide(rows, trials, arguments.folds, params.seed, cache_dir() / "studies" / study.name)
    tags = make_run_tags(statistics, params.flat())
    with (
        study.claim() as is_owner,
        open_study_run(is_owner, params.tracking, "label issues", study.name, params.flat(), tags) as logger,
    ):
        train_all(study, trials, params, judged, logger)
        if logger:
            probabilities = collect(trials, params, judged)
            write_reports(study, trials.labels, params, statistics, key, judged, probabilities, logger)
    confirm_finished()


def pool_splits(trials: Trials) -> None:
    """Let both splits be one, from which folds are taken."""
    parts = [trials.data[split] for split in SPLITS]
    pooled = concatenate_datasets(parts)
    if "document" in pooled.column_names:  # numbers of documents begin at 0 in each split
        first = np.asarray(parts[0]["document"])
        documents = np.concatenate([first, np.asarray(parts[1]["document"]) + first[-1] + 1])
        pooled = pooled.remove_columns("document").add_column("document", documents)
    for split in SPLITS:
        trials.data[split] = pooled


def divide(rows: RowDataset, trials: Trials, folds: int, seed: int, folder: Path) -> Judged:
    """Divide the documents into folds; those with equal texts, or of one group, are in one."""
    first = find_first_windows(rows.documents)
    groups = find_equal_rows(trials.data["train"].select(first))
    named = [name for split in SPLITS for name in read_groups(RAW / f"{split}.parquet") or ()]
    if named:
        groups = keep_together(groups, np.array(named), folds)
    labels = rows.labels[first]
    return Judged(labels, make_folds(labels, groups, folds, seed), rows.documents, folder)


def keep_together(texts: np.ndarray, groups: np.ndarray, folds: int) -> np.ndarray:
    """Groups `(N,)` with the rows that are in one group, or have equal texts; without the latter where they are many.

    Texts that many write, such as "Thank you", connect their groups, until one fold would have most of the rows.
    """
    joined = join_groups(texts, groups)
    largest = int(np.bincount(joined).max())
    if largest * folds <= len(joined):
        return joined
    print(f"equal texts connect groups with {largest:,} of {len(joined):,} rows, so groups alone are kept together")
    return groups


def find_equal_rows(data: Dataset) -> np.ndarray:
    """A number for each row, `(N,)`, which is the same for rows with equal tokens."""
    numbers: dict[bytes, int] = {}
    tokens = (np.asarray(row, dtype=np.int64).tobytes() for row in data["input_ids"])
    return np.array([numbers.setdefault(key, len(numbers)) for key in tokens])


def train_all(study: Study, trials: Trials, params: Params, judged: Judged, logger: TrialLogger | None) -> None:
    """Train without each fold, and log those that are finished."""
    plan = [{FOLD: fold} for fold in range(int(judged.folds.max()) + 1)]

    def log(number: int, part: dict[str, Any], result: dict[str, Any]) -> None:
        if logger:
            logger.log(number, params.flat_train() | part, result)

    run_plan(study, partial(run_trial, trials, params, judged), SPACE, plan, "folds", "accuracy", log)


def run_trial(trials: Trials, params: Params, judged: Judged, part: dict[str, int], should_stop: Any) -> Outcome:
    """Train on the other folds, and keep the probabilities `(F, C)` of this one's F documents.

    The weights are those after the last step: a validation on this fold must not choose them by its labels.
    """
    is_held_out = judged.folds[np.unique(judged.documents, return_inverse=True)[1]] == part[FOLD]
    rows = {"train": np.flatnonzero(~is_held_out), "validation": np.flatnonzero(is_held_out)}
    # One validation, whose metric chooses nothing: on the rows of a fold another one may not be defined.
    once = {"train.eval_steps": LARGEST, "train.early_stopping_patience": None, "train.metric_for_best_model": "loss"}
    last = params.change_train(once)
    training = trials.run(last.train, last.train_seed, rows)
    probabilities = make_predictions(trials.task.problem_type, training.predict_validation()).probabilities
    with new_file(judged.folder / f"{part[FOLD]}.npy") as path, path.open("wb") as file:
        np.save(file, probabilities)
    return Outcome(training.best["accuracy"], training.describe())


def collect(trials: Trials, params: Params, judged: Judged) -> np.ndarray:
    """The probabilities of all documents, `(N, C)`; a fold that another machine trained is trained here."""
    probabilities = np.empty((len(judged.labels), len(trials.labels)))
    for fold in range(int(judged.folds.max()) + 1):
        path = judged.folder / f"{fold}.npy"
        if not path.exists():
            run_trial(trials, params, judged, {FOLD: fold}, None)
        probabilities[judged.folds == fold] = np.load(path)
    return probabilities


def write_reports(
    study: Study,
    names: list[str],
    params: Params,
    statistics: dict[str, Any],
    key: dict[str, Any],
    judged: Judged,
    probabilities: np.ndarray,
    logger: TrialLogger,
) -> None:
    """Write the table of issues, the page, and what the report shows of them; log their number."""
    issues = find_label_issues(judged.labels, probabilities)
    texts = {split: read_raw_texts(RAW / f"{split}.parquet") for split in SPLITS}
    rows = list_issues(issues, names, texts)
    table = main_checkout() / LABEL_ISSUES
    write_csv(table, COLUMNS, rows)
    quality = score_labels(judged.labels, probabilities)
    accuracy = float(agrees(judged.labels, probabilities).mean())
    facts = describe_study(params.flat(), statistics)
    page = make_label_issues_page(study.name, rows, quality, [one.score for one in issues], accuracy, facts)
    files = write_study(main_checkout() / STUDY_REPORTS, "label_issues", page)
    first = [shorten(dict(zip(COLUMNS, row, strict=True))) for row in rows[:SHOWN_IN_REPORT]]
    summary = {"key": key, "rows": len(judged.labels), "issues": len(rows), "accuracy": accuracy, "first": first}
    write_json(main_checkout() / LABEL_SUMMARY, summary)
    logger.log_scores({"label_issues": len(rows), "cross_validated_accuracy": accuracy}, [*files, table])
    for line in page.answer:
        print(line)
    print(f"{table}: all of them, the worst first; {files[0]} shows them")


def shorten(row: dict[str, Any]) -> dict[str, Any]:
    """A row with the beginning of its text, as the report shows it."""
    return row | {"text": row["text"][:MOST_CHARACTERS]}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.label_issues", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folds", type=count, default=5, help="parts of the rows, each judged by a model of others (5)"
    )
    arguments = parser.parse_args()
    if arguments.folds < 2:
        raise UserError(f"--folds: found {arguments.folds}; allowed: 2 and more.")
    return arguments


if __name__ == "__main__":
    with report_errors("label issues"):
        redact_output()
        main()
