import os
import resource
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.core.secrets import redact_all
from stages.tracking.journal import Journal, journals_folder
from stages.tracking.journal_folder import find_unfinished, list_journals, open_journal, remove_partly_deleted


@pytest.fixture
def journal(workspace):
    return Journal.create(inputs="a", name="run", tags={})


def read_all(journal):
    return [event for event, _ in journal.read()]


def test_events_are_read_in_order_from_any_position(journal):
    journal.log_metrics({"train/loss": 0.5}, 10)
    journal.log_event("status", status="PAUSED")
    kinds = [(event["kind"], end) for event, end in journal.read()]
    assert [kind for kind, _ in kinds] == ["run", "metrics", "status"]
    assert [event["kind"] for event, _ in journal.read(kinds[1][1])] == ["status"]
    assert journal.count_unsent() == 3


def test_an_event_that_is_still_being_written_is_not_read(journal):
    with journal.events.open("a") as file:
        file.write('{"kind": "tags", ')
    assert [event["kind"] for event in read_all(journal)] == ["run"]


@pytest.mark.parametrize("junk", ["", "{", "3", "[" * 10_000, "\0" * 99, '{"kind": "tags"}', '{"kind": "met'])
def test_a_broken_line_costs_no_other_event(journal, junk):
    journal.log_event("tags", tags={})
    with journal.events.open("a") as file:
        file.write(junk)
    journal = open_journal(journal.key)
    journal.log_event("status", status="PAUSED")
    assert [event["kind"] for event in read_all(journal)] == ["run", "tags", "status"]


@pytest.mark.parametrize("content", ["", "junk\n", '{"kind": "status", "time": 1, "status": "PAUSED"}\n'])
def test_a_journal_without_its_first_event_is_ignored(journal, capsys, content):
    journal.events.write_text(content)
    assert (open_journal(journal.key), find_unfinished("a"), list_journals()) == (None, None, [])
    assert ("broken, and cannot be sent; delete it" in capsys.readouterr().err) == bool(content)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"sent": 1}'])
def test_all_events_are_unsent_when_the_state_is_broken(journal, content):
    journal.set_state(sent=journal.events.stat().st_size)
    assert journal.count_unsent() == 0
    (journal.folder / "state.json").write_text(content)
    assert journal.count_unsent() == 1
    journal.set_state(sent=10**6)  # events were lost
    assert journal.count_unsent() == 1


@pytest.mark.parametrize("room", [0, 10])  # none, or for a part of an event
def test_a_full_disk_loses_events_with_one_warning_and_no_error(journal, workspace, capsys, room):
    (workspace / "model").mkdir()
    (workspace / "model/weights").write_bytes(bytes(10_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.events.stat().st_size + room, before[1]))
    try:
        journal.log_metrics({"train/loss": 0.5}, 10)
        journal.log_file("model", workspace / "model")
        journal.log_file("artifact", workspace / "model/weights")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    journal.log_event("status", status="PAUSED")
    assert [event["kind"] for event in read_all(journal)] == ["run", "status"]
    assert not list(journal.folder.glob("files/*"))
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {journal.folder}: cannot be written (")
    assert warning.endswith("); MLflow will not show everything about this run")


def test_a_point_that_was_logged_before_an_interruption_is_not_logged_again(journal):
    journal.log_metrics({"train/loss": 0.5}, 10)
    again = open_journal(journal.key)
    again.log_metrics({"train/loss": 0.5, "train/epoch": 1}, 10)
    again.log_metrics({"train/loss": 0.4}, 20)
    again.log_metrics({"train/loss": 0.3, "train/epoch": 1}, 10)  # another value
    assert [event["metrics"] for event in again.find_events("metrics")] == [
        {"train/loss": 0.5}, {"train/epoch": 1.0}, {"train/loss": 0.4}, {"train/loss": 0.3}
    ]  # fmt: skip


def test_several_threads_can_log_at_once(journal):
    def log(thread):
        for step in range(100):
            journal.log_event("metrics", metrics={f"thread{thread}": 1.0}, step=step)

    threads = [threading.Thread(target=log, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_all(journal)) == 401


def test_files_are_copied_because_they_may_be_replaced(journal, workspace):
    folder = workspace / "reports"
    folder.mkdir()
    (folder / "table.csv").write_text("1")
    (folder / ".gitignore").write_text("")
    journal.log_file("artifact", folder)
    (folder / "table.csv").write_text("2")
    copy = journal.folder / read_all(journal)[-1]["path"]
    assert {path.name: path.read_text() for path in copy.iterdir()} == {"table.csv": "1"}


def test_an_unfinished_run_is_found_by_its_inputs(journal):
    Journal.create(inputs="b", name="other", tags={})
    assert find_unfinished("a").key == journal.key
    assert find_unfinished("c") is None
    journal.log_event("status", status="KILLED")
    assert find_unfinished("a").key == journal.key
    journal.log_event("status", status="FINISHED")
    assert find_unfinished("a") is None


def test_a_run_without_a_writer_or_a_last_status_was_killed(journal):
    with journal.lock_for_writing():
        journal.log_event("status", status="RUNNING")
        open_journal(journal.key).close_if_killed()
        assert journal.status == "RUNNING"  # its writer is alive
    journal.close_if_killed()
    assert journal.status == "KILLED"
    journal.log_event("status", status="PAUSED")
    journal.close_if_killed()
    assert journal.status == "PAUSED"


def test_a_journal_is_deleted_when_it_is_finished_and_sent(journal):
    journal.log_event("status", status="FINISHED")
    with journal.lock_for_sending():
        pass
    assert [one.key for one in list_journals()] == [journal.key]
    with journal.lock_for_sending():
        journal.set_state(sent=journal.events.stat().st_size)
    assert list_journals() == []
    assert open_journal(journal.key) is None
    assert list(journals_folder().iterdir()) == []


def test_a_sender_that_waited_for_a_journal_that_was_deleted_leaves_nothing_behind(journal):
    def wait():
        with suppress(FileNotFoundError), open_journal(journal.key).lock_for_sending():
            journal.close_if_killed()

    journal.log_event("status", status="FINISHED")
    waiting = threading.Thread(target=wait)
    with journal.lock_for_sending():
        waiting.start()
        journal.set_state(sent=journal.events.stat().st_size)
        time.sleep(0.2)
    waiting.join()
    assert list(journals_folder().iterdir()) == []


def test_a_journal_whose_deletion_was_killed_is_deleted(journal):
    journal.folder.rename(journal.folder.with_name(f".{journal.key}"))
    assert list_journals() == []
    remove_partly_deleted()
    assert list(journals_folder().iterdir()) == []


@pytest.mark.parametrize(("days", "sent", "left"), [(29, True, 1), (31, True, 0), (31, False, 1)])
def test_the_journal_of_an_unfinished_run_is_deleted_after_a_month_when_all_is_sent(journal, days, sent, left):
    journal.log_event("status", status="PAUSED")
    journal.set_state(sent=journal.events.stat().st_size if sent else 0)
    os.utime(journal.events, (0, time.time() - days * 86400))
    with journal.lock_for_sending():
        pass
    assert len(list_journals()) == left


def test_a_run_without_a_writable_folder_continues_with_one_warning(workspace, capsys):
    (workspace / "mlruns").write_text("a file")
    journal = Journal.create(inputs="a", name="run", tags={})
    with journal.lock_for_writing():
        journal.log_metrics({"train/loss": 0.5}, 10)
        journal.log_file("artifact", workspace / "mlruns")
    assert capsys.readouterr().err.count("warning") == 1
    assert list_journals() == []


BYTES = st.tuples(st.integers(0, 500), st.sampled_from(b'x"{}[]:,\n\0\xff1'))


@given(st.lists(BYTES, max_size=3), st.integers(0, 500), st.binary(max_size=60))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_journal_that_was_truncated_or_changed_can_be_read(journal, changes, length, state):
    journal.events.unlink()
    journal.log_event("run", key=journal.key, inputs="a", name="run", tags={})
    journal.log_event("metrics", metrics={"train/loss": 0.5}, step=10)
    journal.log_event("name", name="another")
    journal.log_event("status", status="PAUSED")
    content = bytearray(journal.events.read_bytes())
    for place, byte in changes:
        content[place : place + 1] = bytes([byte])
    journal.events.write_bytes(content[:length])
    (journal.folder / "state.json").write_bytes(state)
    again = Journal(journal.folder)
    assert again.count_unsent() <= 5
    assert (again.name, again.status, find_unfinished("a"), list_journals()) != ()
    again.log_event("tags", tags={"new": "1"})
    assert read_all(again)[-1].get("tags") == {"new": "1"}


def test_a_journal_is_for_its_user_alone_and_has_no_secrets(workspace):
    (workspace / "params.yaml").write_text('path: "http://u:PLANTED@h/a?sig=PLANTED"\n')
    journal = Journal.create(uri="http://u:PLANTED@h", name="run", tags={"note": "see http://h/a?sig=PLANTED"})
    journal.log_event("params", params={"data.path": "http://u:PLANTED@h/a"})
    journal.log_file("artifact", workspace / "params.yaml")
    assert journal.folder.stat().st_mode & 0o777 == 0o700
    assert journal.events.stat().st_mode & 0o777 == 0o600
    files = [path for path in journal.folder.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert not [path for path in files if "PLANTED" in path.read_text()]
    assert 'path: "http://***@h/a?sig=***"\n' in [path.read_text() for path in files]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), np.float32(0.1), 3])
def test_each_number_is_logged_once(journal, value):
    journal.log_metrics({"train/grad_norm": value}, 10)
    journal.log_metrics({"train/grad_norm": value}, 10)
    open_journal(journal.key).log_metrics({"train/grad_norm": value}, 10)
    assert len(journal.find_events("metrics")) == 1


@given(st.dictionaries(st.text(), st.text() | st.floats() | st.none() | st.lists(st.text())))
def test_what_is_logged_is_read_again_without_secrets_and_lone_surrogates(values):
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder))
        journal.log_event("tags", tags=values)
        (event,) = read_all(journal)
    expected = {to_utf8(key): to_utf8(redact_all(value)) for key, value in values.items()}
    assert repr(event["tags"]) == repr(expected)  # where NaN is equal to NaN


def to_utf8(value):
    if isinstance(value, list):
        return [to_utf8(one) for one in value]
    return value.encode(errors="replace").decode() if isinstance(value, str) else value
