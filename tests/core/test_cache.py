import os
import shutil
import time
from multiprocessing import get_context
from types import SimpleNamespace

import pytest

from stages.core.cache import FolderCache, NoRoom
from stages.core.files import read_json


@pytest.fixture
def cache(tmp_path):
    return FolderCache(tmp_path / "cache", 1000)


def add(cache, name, size, meanwhile=lambda: None):
    """Add an entry of about `size` bytes as the holder of its group's lock; return its folder."""
    with cache.lock(name.partition("-")[0]), cache.add(name, size, {"of": name}) as folder:
        (folder / "data").write_bytes(b"x" * size)
        meanwhile()
    return cache.folder / name


def test_entries_are_found_by_the_beginning_of_their_names(cache):
    paths = [add(cache, name, 10) for name in ("a-1-x", "a-1-y", "a-2-x", "b-1-x")]
    assert cache.find("a-1-") == paths[:2]
    assert cache.find("a-") == paths[:3]
    assert (paths[0] / "data").stat().st_size == 10
    assert read_json(paths[0] / "manifest.json") == {"of": "a-1-x"}
    assert cache.find("c-") == []


def test_an_entry_appears_complete_or_not_at_all(cache):
    def interrupt():
        assert cache.find("a-") == cache.list_entries() == []
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(cache, "a-1", 10, interrupt)
    assert cache.list_entries() == []
    assert not any(path.is_dir() for path in cache.folder.iterdir())


def test_an_entry_that_is_removed_disappears_in_one_step(cache, monkeypatch):
    path = add(cache, "a-1", 10)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # killed before it deletes a file
    cache.remove(path)
    assert cache.list_entries() == []
    monkeypatch.undo()
    add(cache, "a-2", 10)
    assert len(list(cache.folder.glob(".a-1*"))) == 0


def test_the_leftovers_of_a_killed_process_are_removed(cache):
    path = add(cache, "a-1", 10)
    left = path.rename(path.with_name(f".{path.name}.abc_1234.part"))
    with cache.lock("a"):
        assert not left.exists()


def test_what_a_killed_process_left_is_removed_for_other_entries_too(cache):
    path = add(cache, "a-1", 10)
    left = path.rename(path.with_name(f".{path.name}.abc_1234.part"))
    reservation = cache.folder / f"{path.name}.reserved"
    reservation.write_text("900")
    add(cache, "b-2", 500)
    assert not left.exists()
    assert not reservation.exists()


def test_what_another_process_writes_is_not_removed(cache):
    def add_another():
        add(cache, "b-1", 10)
        assert len(list(cache.folder.glob(".a-1.*.part"))) == 1

    assert add(cache, "a-1", 10, add_another).exists()


def test_several_writers_together_keep_the_limit(cache):
    def add_others():
        with pytest.raises(NoRoom, match=r"and there is room for 3\.82e-07, as other processes write 6\.18e-07"):
            add(cache, "b-2", 600)
        add(cache, "b-3", 100)

    add(cache, "a-1", 600, add_others)
    assert sum(entry.size for entry in cache.list_entries()) < 1000


def test_the_least_recently_used_entries_are_deleted_for_new_ones(cache):
    paths = [add(FolderCache(cache.folder, 1000), f"{number}-x", 200) for number in range(3)]
    for age, path in zip((100, 300, 200), paths, strict=True):
        os.utime(path / "manifest.json", (1e9 - age, 1e9 - age))
    cache.mark_used(paths[0], needed=False)
    add(cache, "3-x", 700)
    assert [path.exists() for path in paths] == [True, False, False]


def test_entries_that_the_process_needs_are_deleted_last(cache):
    paths = [add(FolderCache(cache.folder, 1000), f"{number}-x", 200) for number in range(3)]
    cache.mark_used(paths[0], needed=True)
    for path in paths[1:]:
        cache.mark_used(path, needed=False)
    add(cache, "3-x", 700)
    assert [path.exists() for path in paths] == [True, False, False]


def test_clear_deletes_all_that_is_not_being_written(cache):
    add(cache, "a-1", 10).rename(cache.folder / ".a-1.abc_1234.part")
    add(cache, "b-1", 10)
    assert add(cache, "c-1", 10, cache.clear).exists()
    assert [path.name for path in cache.folder.iterdir() if path.is_dir()] == ["c-1"]


def test_the_available_bytes_are_what_params_allow_or_what_the_disk_has(cache, monkeypatch):
    assert cache.available_bytes() == 1000
    path = add(cache, "a-1", 100)
    taken = sum(file.stat().st_size for file in path.iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=50))
    assert cache.available_bytes() == taken + 50
    add(cache, "a-2", 100)
    assert not path.exists()  # the disk had no room for both


def find_or_add_slowly(folder):
    cache = FolderCache(folder / "cache", 1000)
    with cache.lock("a"):
        if cache.find("a-"):
            return True
        with cache.add("a-1", 10, {}) as part:
            with (folder / "made").open("a") as file:
                file.write("once\n")
            time.sleep(1.5)
            (part / "data").write_bytes(b"x")
    return False


def test_only_one_of_several_processes_computes_an_entry(tmp_path):
    with get_context("spawn").Pool(3) as pool:
        found = pool.map(find_or_add_slowly, [tmp_path] * 3)
    assert sorted(found) == [False, True, True]
    assert (tmp_path / "made").read_text() == "once\n"
