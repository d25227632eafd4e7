import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing

import pytest
from support.postgresql import run_postgresql
from support.project import ROOT
from support.study_program import SPACE, train

from stages.core.errors import UserError
from stages.core.sweep_space import Dimension
from stages.studies import study as study_module
from stages.studies.study import Study, find_storage, get_params, name_study

FOREVER = float("inf")


@pytest.fixture
def storage(workspace):
    return find_storage(None)


def search(study, total, deadline=FOREVER):
    with study.claim():
        study.search(train, SPACE, total, deadline, lambda: None)
    return study


def make_study(storage, name="test", seed=1):
    return Study(name, storage, lower_is_better=False, seed=seed)


def read_trials(study):
    return [(trial.params, trial.value, trial.state.name) for trial in study.finished]


def test_a_search_ends_with_as_many_trials_as_wanted_and_improves(storage):
    study = search(make_study(storage), 30)
    assert len(study.finished) == 30
    scores = [trial.user_attrs["result"]["score"] for trial in study.finished]
    assert study.best.value == max(scores)
    assert study.best.value > max(scores[:5])
    assert Counter(trial.state.name for trial in study.finished)["PRUNED"] > 3


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(storage, monkeypatch):
    monkeypatch.setattr(study_module, "STARTUP_TRIALS", 3)
    at_once = search(make_study(storage, "at once"), 9)
    for total in (2, 5, 9):
        in_parts = search(make_study(storage, "in parts"), total)
    assert read_trials(in_parts) == read_trials(at_once)
    assert read_trials(search(make_study(storage, "other seed", seed=2), 3)) != read_trials(at_once)[:3]


def test_a_search_ends_in_time(storage):
    assert not search(make_study(storage), 100, deadline=time.monotonic()).finished


def test_params_that_were_tried_are_not_trained_again(storage):
    tried = []

    def train_once(params, should_stop):
        tried.append(params)
        return study_module.Outcome(float(params["n"]), {})

    study = make_study(storage)
    study.search(train_once, {"n": Dimension(1, 2)}, 8, FOREVER, lambda: None)
    assert len(study.finished) == 8
    assert sorted(params["n"] for params in tried) == [1, 2]


def test_a_plan_is_completed_in_its_order(storage):
    study, plan = make_study(storage), [{"n": n} for n in (3, 1, 2)]
    for part in (plan[:2], plan):
        study.run_plan(lambda params, _: study_module.Outcome(0.0, params), {"n": Dimension(0, 9)}, part, lambda: None)
    assert [trial.user_attrs["result"] for trial in study.trials("COMPLETE")] == plan


def test_after_an_error_the_trial_of_a_plan_is_repeated(storage):
    study, plan = make_study(storage), [{"n": 1}, {"n": 2}]

    def fail(params, should_stop):
        raise UserError("no room")

    with pytest.raises(UserError, match="no room"):
        study.run_plan(fail, {"n": Dimension(0, 9)}, plan, lambda: None)
    study.run_plan(lambda *_: study_module.Outcome(0.0, {}), {"n": Dimension(0, 9)}, plan, lambda: None)
    assert [get_params(trial) for trial in study.trials("COMPLETE")] == [{"n": 2}, {"n": 1}]


@pytest.mark.parametrize("planned", [False, True])
def test_a_trial_whose_process_died_before_its_first_sign_of_life_is_given_up(storage, monkeypatch, planned):
    monkeypatch.setattr(study_module, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(study_module, "SECONDS_BETWEEN_POLLS", 0.06)
    study, space = make_study(storage), {"n": Dimension(0, 9)}
    if planned:
        study.study.enqueue_trial({"n": 1})
    dead = study.study.ask()
    if planned:
        dead.suggest_int("n", 0, 9)
        study.run_plan(lambda *_: study_module.Outcome(0.0, {}), space, [{"n": 1}], lambda: None)
    else:
        study.search(train, SPACE, 1, FOREVER, lambda: None)
    assert len(study.finished) == 1
    assert [trial.number for trial in study.trials("FAIL")] == [dead.number]


def test_importance_finds_the_param_that_matters(storage):
    importance = search(make_study(storage), 20).importance()
    assert next(iter(importance)) == "x"
    assert sum(importance.values()) == pytest.approx(1)


def test_one_process_of_the_checkout_that_began_a_study_reports_on_it(storage, tmp_path, monkeypatch):
    first, second = make_study(storage), make_study(storage)
    with first.claim() as one, second.claim() as other:
        assert (one, other) == (True, False)
    with second.claim() as one:
        assert one
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "elsewhere"))
    with make_study(storage).claim() as one:
        assert not one


def test_a_storage_that_fails_in_a_search_is_one_message(storage):
    study = make_study(storage)
    with closing(sqlite3.connect(storage.removeprefix("sqlite:///"))) as database:
        database.execute("DROP TABLE trials")
    with pytest.raises(UserError, match=r"the storage of test failed: .*trials.*\. Run the command again"):
        search(study, 3)


def test_names_depend_on_kind_and_key():
    names = {name_study(kind, key) for kind in ("sweep", "seeds") for key in ({"a": 1, "b": 2}, {"a": 2, "b": 1})}
    assert len(names) == 4
    assert name_study("sweep", {"b": 2, "a": 1}) in names


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("postgresql://user:hidden@127.0.0.1:1/studies", "connection"),
        ("sqlite:////missing/folder/studies.db", "unable to open"),
        ("nonsense", "Could not parse"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_message_without_password(storage, address, reason):
    with pytest.raises(UserError, match=rf"(?s)the storage .*: cannot be used: .*{reason}") as caught:
        make_study(address)
    assert "hidden" not in str(caught.value)


@pytest.fixture(params=["sqlite", "postgresql"])
def shared_storage(request, workspace):
    if request.param == "sqlite":
        yield find_storage(None)
    else:
        with run_postgresql() as address:
            yield address


def start(storage, total, seconds=0.05):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT)])}
    command = [sys.executable, "-m", "support.study_program", "killed", storage, str(total), str(seconds)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_a_search_that_is_killed_and_joined_has_each_trial_once(shared_storage):
    total = 30
    for count in range(3):
        process = start(shared_storage, total)
        while not (line := process.stdout.readline()).strip().isdecimal() or int(line) < 5 * (count + 1):
            assert line
        process.send_signal(signal.SIGKILL)
        process.wait()
    processes = [start(shared_storage, total), start(shared_storage, total)]
    assert {process.stdout.readline() for process in processes} == {"owner\n", "joined\n"}
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    study = Study("killed", shared_storage, lower_is_better=False, seed=1)
    assert len(study.finished) == total
    assert len({str(trial.params) for trial in study.finished}) == total
    assert not study.trials("RUNNING", "WAITING")
