import os
import resource
import threading
import time
from contextlib import suppress

import pytest

from stages.tracking.journal import Journal, find, journals, journals_folder, open_journal, remove_gone


@pytest.fixture
def journal(workspace):
    return Journal.create(inputs="a", name="run", tags={})


def told(journal):
    return [event for event, _ in journal.read()]


def test_events_come_back_in_order_from_any_place(journal):
    journal.tell_metrics({"train/loss": 0.5}, 10)
    journal.tell("status", status="PAUSED")
    kinds = [(event["kind"], end) for event, end in journal.read()]
    assert [kind for kind, _ in kinds] == ["run", "metrics", "status"]
    assert [event["kind"] for event, _ in journal.read(kinds[1][1])] == ["status"]
    assert journal.waiting() == 3


def test_an_event_that_is_being_written_waits(journal):
    with journal.events.open("a") as file:
        file.write('{"kind": "tags", ')
    assert [event["kind"] for event in told(journal)] == ["run"]


@pytest.mark.parametrize("junk", ["", "{", "3", "[" * 10_000, "\0" * 99, '{"kind": "tags"}', '{"kind": "met'])
def test_a_line_that_is_broken_takes_no_other_with_it(journal, junk):
    journal.tell("tags", tags={})
    with journal.events.open("a") as file:
        file.write(junk)
    journal = open_journal(journal.key)
    journal.tell("status", status="PAUSED")
    assert [event["kind"] for event in told(journal)] == ["run", "tags", "status"]


@pytest.mark.parametrize("content", ["", "junk\n", '{"kind": "status", "time": 1, "status": "PAUSED"}\n'])
def test_a_journal_that_lacks_its_beginning_is_none(journal, capsys, content):
    journal.events.write_text(content)
    assert (open_journal(journal.key), find("a"), journals()) == (None, None, [])
    assert ("broken, and cannot be sent; delete it" in capsys.readouterr().err) == bool(content)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"sent": 1}'])
def test_all_is_sent_again_when_what_was_sent_is_not_known(journal, content):
    journal.set_state(sent=journal.events.stat().st_size)
    assert journal.waiting() == 0
    (journal.folder / "state.json").write_text(content)
    assert journal.waiting() == 1
    journal.set_state(sent=10**6)  # events were cut off
    assert journal.waiting() == 1


@pytest.mark.parametrize("room", [0, 10])  # none, or for a part of an event
def test_a_full_disk_costs_events_but_no_training(journal, workspace, capsys, room):
    (workspace / "model").mkdir()
    (workspace / "model/weights").write_bytes(bytes(10_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.events.stat().st_size + room, before[1]))
    try:
        journal.tell_metrics({"train/loss": 0.5}, 10)
        journal.tell_file("model", workspace / "model")
        journal.tell_file("artifact", workspace / "model/weights")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    journal.tell("status", status="PAUSED")
    assert [event["kind"] for event in told(journal)] == ["run", "status"]
    assert not list(journal.folder.glob("files/*"))
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {journal.folder}: cannot be written (")
    assert warning.endswith("), so MLflow will not show all of this run")


def test_a_point_that_was_told_before_an_interruption_is_not_told_again(journal):
    journal.tell_metrics({"train/loss": 0.5}, 10)
    again = open_journal(journal.key)
    again.tell_metrics({"train/loss": 0.5, "train/epoch": 1}, 10)
    again.tell_metrics({"train/loss": 0.4}, 20)
    again.tell_metrics({"train/loss": 0.3, "train/epoch": 1}, 10)  # another value is
    assert [event["metrics"] for event in again.of_kind("metrics")] == [
        {"train/loss": 0.5}, {"train/epoch": 1.0}, {"train/loss": 0.4}, {"train/loss": 0.3}
    ]  # fmt: skip


def test_several_may_tell_at_once(journal):
    def tell(thread):
        for step in range(100):
            journal.tell("metrics", metrics={f"thread{thread}": 1.0}, step=step)

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told(journal)) == 401


def test_files_are_copied_since_they_may_be_replaced(journal, workspace):
    folder = workspace / "reports"
    folder.mkdir()
    (folder / "table.csv").write_text("1")
    (folder / ".gitignore").write_text("")
    journal.tell_file("artifact", folder)
    (folder / "table.csv").write_text("2")
    copy = journal.folder / told(journal)[-1]["path"]
    assert {path.name: path.read_text() for path in copy.iterdir()} == {"table.csv": "1"}


def test_an_unfinished_run_is_found_by_what_it_was_begun_with(journal):
    Journal.create(inputs="b", name="other", tags={})
    assert find("a").key == journal.key
    assert find("c") is None
    journal.tell("status", status="KILLED")
    assert find("a").key == journal.key
    journal.tell("status", status="FINISHED")
    assert find("a") is None


def test_who_was_killed_did_not_say_how_it_ended(journal):
    with journal.writing():
        journal.tell("status", status="RUNNING")
        open_journal(journal.key).close_if_killed()
        assert journal.status == "RUNNING"  # it lives
    journal.close_if_killed()
    assert journal.status == "KILLED"
    journal.tell("status", status="PAUSED")
    journal.close_if_killed()
    assert journal.status == "PAUSED"


def test_a_journal_goes_when_it_is_finished_and_sent(journal):
    journal.tell("status", status="FINISHED")
    with journal.sending():
        pass
    assert [one.key for one in journals()] == [journal.key]
    with journal.sending():
        journal.set_state(sent=journal.events.stat().st_size)
    assert journals() == []
    assert open_journal(journal.key) is None
    assert list(journals_folder().iterdir()) == []


def test_who_waits_to_send_a_journal_that_then_goes_leaves_none_behind(journal):
    def wait():
        with suppress(FileNotFoundError), open_journal(journal.key).sending():
            journal.close_if_killed()

    journal.tell("status", status="FINISHED")
    waiting = threading.Thread(target=wait)
    with journal.sending():
        waiting.start()
        journal.set_state(sent=journal.events.stat().st_size)
        time.sleep(0.2)
    waiting.join()
    assert list(journals_folder().iterdir()) == []


def test_what_a_killed_process_left_of_a_journal_goes(journal):
    journal.folder.rename(journal.folder.with_name(f".{journal.key}"))
    assert journals() == []
    remove_gone()
    assert list(journals_folder().iterdir()) == []


@pytest.mark.parametrize(("days", "sent", "left"), [(29, True, 1), (31, True, 0), (31, False, 1)])
def test_a_run_that_was_never_finished_is_forgotten_when_all_is_sent(journal, days, sent, left):
    journal.tell("status", status="PAUSED")
    journal.set_state(sent=journal.events.stat().st_size if sent else 0)
    os.utime(journal.events, (0, time.time() - days * 86400))
    with journal.sending():
        pass
    assert len(journals()) == left


def test_without_a_folder_to_write_to_a_run_goes_on_with_one_warning(workspace, capsys):
    (workspace / "mlruns").write_text("a file")
    journal = Journal.create(inputs="a", name="run", tags={})
    with journal.writing():
        journal.tell_metrics({"train/loss": 0.5}, 10)
        journal.tell_file("artifact", workspace / "mlruns")
    assert capsys.readouterr().err.count("warning") == 1
    assert journals() == []
