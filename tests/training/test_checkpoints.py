import os
import time

import pytest

from stages.core.files import cache_dir
from stages.training.checkpoints import (
    begin_checkpoint,
    complete_checkpoint,
    find_latest,
    make_training_key,
    mark_finished,
    open_checkpoints,
    remove_finished,
)


def write(folder, step):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(exist_ok=True)
    with begin_checkpoint(checkpoint):
        (checkpoint / "model.safetensors").write_text(f"weights {step}")
    return checkpoint


def test_incomplete_checkpoints_are_not_used_and_are_removed(tmp_path):
    complete_checkpoint(write(tmp_path, 9), best=None)
    write(tmp_path, 10)
    write(tmp_path, 100)
    assert find_latest(tmp_path).name == "checkpoint-9"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-9"]


def test_a_checkpoint_is_incomplete_while_it_is_written_again(tmp_path):
    complete_checkpoint(write(tmp_path, 1), best=None)
    complete_checkpoint(write(tmp_path, 2), best=str(tmp_path / "checkpoint-1"))
    write(tmp_path, 2)
    assert find_latest(tmp_path).name == "checkpoint-1"


def test_the_last_and_the_best_are_kept(tmp_path):
    for step in (1, 2, 3):
        complete_checkpoint(write(tmp_path, step), best=str(tmp_path / "checkpoint-1"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1", "checkpoint-3"]


@pytest.mark.parametrize("name", ["model.safetensors", "manifest.json"])
@pytest.mark.parametrize("content", ["wei", "weights 2", "{}"])
def test_a_checkpoint_with_a_broken_file_is_not_used(tmp_path, name, content):
    complete_checkpoint(write(tmp_path, 1), best=None)
    (tmp_path / "checkpoint-1" / name).write_text(content)
    assert find_latest(tmp_path) is None


def test_a_checkpoint_is_used_only_when_its_best_one_is_complete(tmp_path):
    complete_checkpoint(write(tmp_path, 1), best=None)
    complete_checkpoint(write(tmp_path, 2), best=str(tmp_path / "checkpoint-1"))
    (tmp_path / "checkpoint-1/model.safetensors").write_text("wei")
    assert find_latest(tmp_path) is None


def test_a_checkpoint_that_cannot_be_written_is_removed(tmp_path):
    complete_checkpoint(write(tmp_path, 1), best=None)
    with pytest.raises(OSError, match="full"), begin_checkpoint(write(tmp_path, 2)):
        raise OSError("full")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_each_key_has_its_own_checkpoints(workspace):
    for inputs in ({"seed": 1}, {"seed": 2}):
        with pytest.raises(RuntimeError, match="crash"), open_checkpoints(inputs) as folder:
            assert find_latest(folder) is None
            complete_checkpoint(write(folder, 1), best=None)
            raise RuntimeError("crash")
    with open_checkpoints({"seed": 1}) as folder:
        assert find_latest(folder).name == "checkpoint-1"
    assert len(list((cache_dir() / "checkpoints").glob("*/inputs.json"))) == 2


def finished(seed):
    """The folder of a training that has its results, with the seed as its run."""
    with open_checkpoints({"seed": seed}) as folder:
        complete_checkpoint(write(folder, 1), best=None)
        mark_finished(folder, str(seed))
    return folder


def test_checkpoints_of_a_finished_run_are_removed_when_its_results_are_recorded(workspace):
    one, two = finished(1), finished(2)
    remove_finished("1")
    assert (one.exists(), two.exists()) == (False, True)
    remove_finished("2")
    assert not two.exists()


def test_a_finished_training_can_be_resumed_and_is_unfinished_meanwhile(workspace):
    folder = finished(1)
    with open_checkpoints({"seed": 1}):
        assert find_latest(folder).name == "checkpoint-1"
    remove_finished("1")
    assert folder.exists()


def test_checkpoints_that_a_process_uses_are_not_removed(workspace):
    with open_checkpoints({"seed": 1}) as folder:
        mark_finished(folder, "1")
        remove_finished("1")
        os.utime(folder, (0, 0))
        with open_checkpoints({"seed": 2}):
            assert folder.exists()


@pytest.mark.parametrize(
    ("finished_json", "days", "is_removed"),
    [(None, 29, False), (None, 31, True), ('{"run": "a"}', 0.9, False), ('{"run": "a"}', 1.1, True), ("", 31, True)],
)
def test_checkpoints_that_are_not_used_for_long_are_removed(workspace, finished_json, days, is_removed):
    with open_checkpoints({"seed": 1}) as old:
        if finished_json is not None:
            (old / "finished.json").write_text(finished_json)
    os.utime(old, (0, time.time() - days * 86400))
    with open_checkpoints({"seed": 2}):
        assert old.exists() != is_removed


def test_the_key_depends_on_params_files_and_threads(tmp_path, monkeypatch):
    file = tmp_path / "data/tokens.arrow"
    file.parent.mkdir()
    file.write_text("1 2 3")
    first = make_training_key({"seed": 1}, [tmp_path / "data"])
    assert make_training_key({"seed": 1}, [tmp_path / "data"]) == first
    assert make_training_key({"seed": 2}, [tmp_path / "data"]) != first
    monkeypatch.setattr("torch.get_num_threads", lambda: 77)
    assert make_training_key({"seed": 1}, [tmp_path / "data"]) != first
    monkeypatch.undo()
    file.write_text("1 2 4")
    assert make_training_key({"seed": 1}, [tmp_path / "data"]) != first
