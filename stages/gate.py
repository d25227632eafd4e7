"""Judge the model of this checkout by the rules of `gate` in params.yaml; a model that passes becomes challenger.

python -m stages.gate
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from mlflow.entities import Run

from stages.core.arguments import refuse_arguments
from stages.core.errors import UserError
from stages.core.files import read_json
from stages.core.params import Params
from stages.core.paths import PREDICTIONS, RUN, SEED_SPREAD, STATISTICS, TEST_METRICS
from stages.core.secrets import redact_output
from stages.core.stage import read_timings, report_errors
from stages.core.study_files import read_study
from stages.evaluation.gate_rules import RowResults, Verdict, format_table, judge_champion, judge_limits
from stages.studies.seed_spread import describe_difference
from stages.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    EVALUATION_RUN_TAG,
    TEST_ROWS_TAG,
    Registry,
    find_training_and_evaluation,
    open_registry,
)  # fmt: skip


def main() -> None:
    params = Params.load()
    metrics = read_json(TEST_METRICS)
    run_key = read_json(RUN, ["run"])["run"]
    statistics = read_json(STATISTICS, ["raw_sha256", "splits"])
    results = RowResults.read(PREDICTIONS, statistics["splits"]["test"]["raw_sha256"])
    with open_registry(params.gate.registered_model) as registry:
        training, evaluation = find_training_and_evaluation(
            registry.client, params.tracking.experiment, run_key, metrics, statistics["raw_sha256"]
        )
        verdicts = judge_limits(params.gate, metrics | read_timings())
        verdicts.append(compare_with_champion(registry, training, results, params))
        table = format_table(verdicts)
        print(table)
        failed = [verdict for verdict in verdicts if verdict.verdict == "fail"]
        if failed:
            registry.withdraw(training)
            raise UserError(describe_failure(failed))
        tags = {EVALUATION_RUN_TAG: evaluation.info.run_id, TEST_ROWS_TAG: results.test_sha256}
        version = registry.make_challenger(training, tags, table)
    role = CHAMPION if CHAMPION in version.aliases else CHALLENGER
    print(f"\npasses: version {version.version} of {version.name} is the {role}")


def compare_with_champion(registry: Registry, training: Run, results: RowResults, params: Params) -> Verdict:
    """Judge the model against the champion, unless there is none, or it is the champion itself."""
    confidence = params.gate.champion_confidence
    champion = registry.find_by_alias(CHAMPION)
    champion_results = None
    if champion is None:
        note = "no champion yet"
    elif champion.run_id == training.info.run_id:
        note = f"version {champion.version}, the champion, itself"
    else:
        note = f"version {champion.version}"
        if confidence is not None:
            with tempfile.TemporaryDirectory() as folder:
                champion_results = RowResults.read(*registry.download_predictions(champion, Path(folder)))
    verdict = judge_champion(confidence, results, champion_results, note, params.seed)
    if champion_results is None or not results.has_same_rows(champion_results):
        return verdict
    difference = float(results.correct.mean() - champion_results.correct.mean())
    return add_seed_note(verdict, difference, params)


def add_seed_note(verdict: Verdict, difference: float, params: Params) -> Verdict:
    """The verdict, and how the difference of accuracies compares to what the seed changes, where `stages.seeds` ran."""
    tokenized = read_json(STATISTICS, ["tokenized_sha256"])["tokenized_sha256"]
    spread = read_study(SEED_SPREAD, ["metrics"], params.flat_train(), tokenized)
    if spread is None:
        return verdict
    clear = spread["metrics"]["accuracy"]["clear_difference"]
    return replace(verdict, found=f"{verdict.found}; {describe_difference(difference, clear)}")


def describe_failure(failed: list[Verdict]) -> str:
    advice = [verdict.advice for verdict in failed if verdict.advice]
    return " ".join([f"the model fails {', '.join(verdict.rule for verdict in failed)}.", *advice])


if __name__ == "__main__":
    refuse_arguments("gate", __doc__)
    with report_errors("gate"):
        redact_output()
        main()
