from pathlib import Path

import pytest

from stages.core import study_files
from stages.core.files import write_json
from stages.core.paths import BASE
from stages.core.study_files import make_study_key, read_study

TRAIN = {"train.seed": 1, "train.learning_rate": 1e-3}
PATH = Path("reports/studies/seeds.json")


@pytest.fixture(autouse=True)
def base(workspace):
    BASE.mkdir(parents=True)
    (BASE / "config.json").write_text("{}")


def write(train=TRAIN, data="d", **values):
    write_json(PATH, {"key": make_study_key(train, data), "metrics": {}} | values)


def read(train=TRAIN, data="d"):
    return read_study(PATH, ["metrics"], train, data)


def test_what_a_study_found_is_read_for_the_same_data_and_params_with_any_seed():
    write()
    assert read()["metrics"] == {}
    assert read(TRAIN | {"train.seed": 2})


def test_what_was_found_with_something_else_is_not_read(monkeypatch):
    write()
    assert read(TRAIN | {"train.learning_rate": 1e-4}) is None
    assert read(data="other") is None
    (BASE / "config.json").write_text("{ }")
    assert read() is None
    write()
    monkeypatch.setattr(study_files, "CODE", ("training",))
    assert read() is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"key": 1}', '{"key": {}, "metrics": {}}', '{"key": null, "metrics": 1}']
)
def test_a_missing_or_broken_file_is_no_error(text):
    assert read() is None
    PATH.parent.mkdir(parents=True)
    PATH.write_text(text)
    assert read() is None
