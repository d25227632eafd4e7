"""The registered model, in a real SQLite store."""

import mlflow
import pytest

from stages.core.errors import UserError
from stages.tracking import registry
from stages.tracking.mlflow_store import EXPORTED, connect, find_experiment
from stages.tracking.provenance import KEY_TAG
from stages.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    Registry,
    find_training_and_evaluation,
    open_registry,
    version_number,
)  # fmt: skip

TAGS = {registry.EVALUATION_RUN_TAG: "run", registry.TEST_ROWS_TAG: "abc"}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """One store for all tests, each of which takes names of its own; making its tables takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(tmp_path_factory.mktemp("store")))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield connect(None)
        mlflow.set_tracking_uri(None)


@pytest.fixture
def models(client, request):
    return Registry(client, request.node.name[:60].replace("[", " ").replace("]", " "))


def make_run(client, tag=KEY_TAG, key="key", status="FINISHED", model=True, data="d", **metrics):
    """A run as `train` and `evaluate` leave it."""
    tags = {tag: key, "data.raw_sha256": data}
    run = client.create_run(find_experiment(client, "test"), tags=tags)
    for name, value in metrics.items():
        client.log_metric(run.info.run_id, f"test/{name}", value)
    if model:
        logged = client.create_logged_model(run.info.experiment_id, "classifier", run.info.run_id)
        client.finalize_logged_model(logged.model_id, "READY")
    client.set_terminated(run.info.run_id, status)
    return client.get_run(run.info.run_id)


def pass_gate(models):
    return models.make_challenger(make_run(models.client), TAGS, "| the table |")


def version_with(models, alias):
    return version_number(models.find_by_alias(alias))


def promote_new(models):
    """The number of a new champion."""
    pass_gate(models)
    return version_number(models.promote()[0])


def interrupt(*arguments):
    raise KeyboardInterrupt


def roll_back(models):
    return version_number(models.rollback()[0])


def test_a_model_that_passes_is_registered_once_as_challenger(models):
    run = make_run(models.client)
    first, second = models.make_challenger(run, TAGS, "| old |"), models.make_challenger(run, TAGS, "| new |")
    assert first.version == second.version
    assert [version.version for version in models.list_versions()] == [first.version]
    assert (second.aliases, second.description, second.run_id) == ([CHALLENGER], "| new |", run.info.run_id)
    assert second.tags == TAGS | {registry.COMPARED_TAG: "none"}
    (logged,) = models.client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert second.source == f"models:/{logged.model_id}"


def test_the_challenger_becomes_champion_with_the_table_of_the_gate(models):
    challenger = pass_gate(models)
    champion, before = models.promote()
    assert (champion.version, before) == (challenger.version, None)
    assert (champion.aliases, champion.description) == ([CHAMPION], "| the table |")
    assert models.find_by_alias(CHALLENGER) is None


def test_rollback_returns_to_one_champion_after_the_other(models):
    assert [promote_new(models) for _ in range(3)] == ["1", "2", "3"]
    assert [roll_back(models) for _ in range(2)] == ["2", "1"]
    with pytest.raises(UserError, match=r"had no champion before version 1, so none to return to"):
        models.rollback()
    assert version_with(models, CHAMPION) == "1"


def test_a_model_may_become_champion_again(models):
    first = make_run(models.client)
    for run in (first, make_run(models.client), first):
        models.make_challenger(run, TAGS, "")
        models.promote()
    assert version_with(models, CHAMPION) == "1"
    assert [roll_back(models) for _ in range(2)] == ["2", "1"]


def test_rollback_skips_versions_that_were_deleted(models):
    for _ in range(3):
        promote_new(models)
    models.client.delete_model_version(models.name, "2")
    assert roll_back(models) == "1"


def test_a_promotion_that_was_interrupted_is_repeated_and_rolled_back_as_one(models, monkeypatch):
    promote_new(models)
    pass_gate(models)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(models.client, "set_registered_model_alias", interrupt)
        models.promote()
    assert models.read_former_champions() == ["1"]
    assert version_number(models.promote()[0]) == "2"
    assert roll_back(models) == "1"
    with pytest.raises(UserError, match="so none to return to"):
        models.rollback()


def test_without_challenger_or_champion_a_message_says_what_to_do(models):
    with pytest.raises(
        UserError, match=r"has no challenger \(champion: none\). .* when it passes python -m stages.gate"
    ):
        models.promote()
    with pytest.raises(UserError, match=r"has no champion; python -m stages.promote makes"):
        models.rollback()
    promote_new(models)
    with pytest.raises(UserError, match=r"has no challenger \(champion: 1\)"):
        models.promote()


def test_a_challenger_that_is_champion_already_is_an_error(models):
    promote_new(models)
    models.client.set_registered_model_alias(models.name, CHALLENGER, "1")
    with pytest.raises(UserError, match=r"version 1 of .*, the challenger, is the champion already"):
        models.promote()


def test_a_challenger_that_the_gate_did_not_compare_with_this_champion_is_refused(models):
    for _ in range(2):
        promote_new(models)
    pass_gate(models)
    models.rollback()
    with pytest.raises(UserError, match=r"version 3 .* did not pass the gate against the present champion \(1\)"):
        models.promote()
    assert version_with(models, CHAMPION) == "1"


def test_the_champion_that_passes_again_stays_champion_and_is_no_challenger(models):
    run = make_run(models.client)
    models.make_challenger(run, TAGS, "")
    models.promote()
    pass_gate(models)
    assert version_with(models, CHALLENGER) == "2"
    again = models.make_challenger(run, TAGS | {registry.TEST_ROWS_TAG: "new"}, "")
    assert (again.aliases, again.tags[registry.TEST_ROWS_TAG]) == ([CHAMPION], "new")
    assert models.find_by_alias(CHALLENGER) is None


def test_a_challenger_that_no_longer_passes_loses_its_alias(models):
    old, new = make_run(models.client), make_run(models.client)
    for run in (old, new):
        models.make_challenger(run, TAGS, "")
    models.withdraw(old)
    assert version_with(models, CHALLENGER) == "2"
    models.withdraw(new)
    assert models.find_by_alias(CHALLENGER) is None


def test_a_run_without_a_model_cannot_be_registered(models):
    with pytest.raises(UserError, match=r"has no model that could be registered. Set tracking.log_model: true"):
        models.make_challenger(make_run(models.client, model=False), TAGS, "")


def test_the_latest_run_that_evaluated_the_model_with_these_results_is_found(client, request):
    key = request.node.name
    trained = make_run(client, key=key, accuracy=0.9, loss=0.3)
    again = make_run(client, "train.run", key, model=False, accuracy=0.9, loss=0.3)
    make_run(client, "train.run", key, model=False, accuracy=0.8, loss=0.3)
    runs = find_training_and_evaluation(client, "test", key, {"accuracy": 0.9, "loss": 0.3}, "d")
    assert [run.info.run_id for run in runs] == [trained.info.run_id, again.info.run_id]


@pytest.mark.parametrize(
    ("status", "accuracy", "data"), [("SCHEDULED", 0.9, "d"), ("FINISHED", 0.8, "d"), ("FINISHED", 0.9, "other")]
)
def test_a_model_without_an_evaluation_in_mlflow_is_an_error(client, status, accuracy, data):
    key = f"{status}-{accuracy}-{data}"
    make_run(client, key=key, status=status, data=data, accuracy=accuracy)
    with pytest.raises(UserError, match=rf"no finished run of .* \(run {key}\) with .*`dvc repro` evaluates the model"):
        find_training_and_evaluation(client, "test", key, {"accuracy": 0.9}, "d")
    with pytest.raises(UserError, match="no finished run"):
        find_training_and_evaluation(client, "no such experiment", key, {"accuracy": 0.9}, "d")


def test_predictions_of_the_champion_come_from_the_run_that_evaluated_it(models, tmp_path):
    evaluation = make_run(models.client, model=False)
    (tmp_path / "predictions.csv").write_text("actual,predicted\nyes,yes\nno,yes\n")
    models.client.log_artifact(evaluation.info.run_id, str(tmp_path / "predictions.csv"), "reports")
    tags = TAGS | {registry.EVALUATION_RUN_TAG: evaluation.info.run_id}
    version = models.make_challenger(make_run(models.client), tags, "")
    path, test_sha256 = models.download_predictions(version, tmp_path / "downloaded")
    assert (path.read_text(), test_sha256) == ("actual,predicted\nyes,yes\nno,yes\n", "abc")


def test_a_champion_whose_predictions_are_missing_is_an_error(models, tmp_path):
    version = models.make_challenger(make_run(models.client), {}, "")
    with pytest.raises(UserError, match=r"no reports/predictions.csv of version 1 of .*gate.champion_confidence: null"):
        models.download_predictions(version, tmp_path)


def log_export(models, run):
    """An export of a run's model, as `stages.export` logs it; its URI."""
    logged = models.client.create_logged_model(run.info.experiment_id, EXPORTED, run.info.run_id)
    models.client.finalize_logged_model(logged.model_id, "READY")
    return f"models:/{logged.model_id}"


def test_the_newest_export_of_the_champion_takes_its_place_with_its_tags(models):
    run = make_run(models.client)
    models.make_challenger(run, TAGS, "| the table |")
    models.promote()
    log_export(models, run)
    newest = log_export(models, run)
    exported, before = models.promote_exported()
    assert (exported.source, exported.aliases, before.version) == (newest, [CHAMPION], 1)
    assert TAGS.items() <= exported.tags.items()
    assert exported.description == "The ONNX export of version 1.\n\n| the table |"
    with pytest.raises(UserError, match=r"version 2 of .*, the newest export, is the champion already"):
        models.promote_exported()
    assert roll_back(models) == "1"


def test_a_model_whose_export_is_champion_is_champion_already_when_it_passes_the_gate_again(models):
    run = make_run(models.client)
    models.make_challenger(run, TAGS, "| old |")
    models.promote()
    log_export(models, run)
    models.promote_exported()
    assert version_number(models.make_challenger(run, TAGS, "| new |")) == "1"
    assert (version_with(models, CHALLENGER), version_with(models, CHAMPION)) == ("none", "2")


def test_without_champion_or_export_there_is_nothing_to_put_in_its_place(models):
    with pytest.raises(UserError, match="has no champion whose export could take its place"):
        models.promote_exported()
    promote_new(models)
    with pytest.raises(UserError, match=r"no export of version 1 of .*, the champion; `python -m stages.export` makes"):
        models.promote_exported()


def test_a_server_that_is_down_is_one_message(workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"MLflow at http://127.0.0.1:9: it cannot be reached"), open_registry("x"):
        pass
