"""Judge the model that the pipeline left by the rules of `gate` in params.yaml; one that passes becomes challenger.

python -m stages.gate
"""

from pathlib import Path

from mlflow.entities import Run

from stages.core.errors import UserError
from stages.core.files import read_json
from stages.core.params import Params
from stages.core.stage import read_timings, telling_faults
from stages.evaluation.gate_rules import RowResults, Verdict, format_table, judge_champion, judge_limits
from stages.tracking.registry import CHALLENGER, CHAMPION, MEASURED, TEST_ROWS, Registry, find_measured, open_registry

METRICS, PREDICTIONS = Path("metrics/evaluate.json"), Path("reports/predictions.csv")
RUN, STATISTICS = Path("models/mlflow_run.json"), Path("data/statistics.json")


def main() -> None:
    params, metrics = Params.load(), read_json(METRICS)
    key, statistics = read_json(RUN, ["run"])["run"], read_json(STATISTICS, ["raw_sha256", "splits"])
    answers = RowResults.read(PREDICTIONS, statistics["splits"]["test"]["raw_sha256"])
    with open_registry(params.gate.registered_model) as registry:
        found = registry.client, params.tracking.experiment, key, metrics, statistics["raw_sha256"]
        trained, measured = find_measured(*found)
        verdicts = judge_limits(params.gate, metrics | read_timings())
        verdicts.append(against_champion(registry, trained, answers, params))
        table = format_table(verdicts)
        print(table)
        failed = [verdict for verdict in verdicts if verdict.verdict == "fail"]
        if failed:
            registry.withdraw(trained)
            raise UserError(" ".join([f"the model fails {', '.join(one.rule for one in failed)}.", *advice(failed)]))
        tags = {MEASURED: measured.info.run_id, TEST_ROWS: answers.test_sha256}
        version = registry.make_challenger(trained, tags, table)
    role = CHAMPION if CHAMPION in version.aliases else CHALLENGER
    print(f"\npasses: version {version.version} of {version.name} is the {role}")


def against_champion(registry: Registry, trained: Run, answers: RowResults, params: Params) -> Verdict:
    """Compare with the champion, unless there is none, or it is the same model."""
    confidence, champion = params.gate.champion_confidence, registry.aliased(CHAMPION)
    before, note = None, f"version {champion.version}" if champion else "no champion yet"
    if champion and champion.run_id == trained.info.run_id:
        note += ", the champion, itself"
    elif champion and confidence is not None:
        before = registry.answers_of(champion)
    return judge_champion(confidence, answers, before, note, params.seed)


def advice(failed: list[Verdict]) -> list[str]:
    return [verdict.advice for verdict in failed if verdict.advice]


if __name__ == "__main__":
    with telling_faults("gate"):
        main()
