import os
import shutil
import time
from multiprocessing import get_context
from types import SimpleNamespace

import pytest

from stages.core.cache import FolderCache, NoRoom


@pytest.fixture
def cache(tmp_path):
    return FolderCache(tmp_path / "cache", 1000)


def fill(size):
    return lambda folder: (folder / "data").write_bytes(b"x" * size)


def fail(folder):
    raise AssertionError("computed again")


def test_an_entry_is_computed_once_and_found_again(cache):
    path, found = cache.fetch({"a": 1}, 10, fill(10))
    assert (found, (path / "data").stat().st_size) == (False, 10)
    assert cache.fetch({"a": 1}, 10, fail) == (path, True)
    assert cache.fetch({"a": 2}, 10, fill(20))[0] != path


def test_a_broken_entry_is_computed_again(cache):
    path, _ = cache.fetch({"a": 1}, 10, fill(10))
    (path / "data").write_bytes(b"x")
    assert cache.fetch({"a": 1}, 10, fill(10)) == (path, False)
    (path / "data").write_bytes(b"x" * 9 + b"y")  # of the same size
    assert cache.fetch({"a": 1}, 10, fill(10)) == (path, False)
    (path / "manifest.json").write_text("{")
    assert cache.fetch({"a": 1}, 10, fill(10)) == (path, False)
    assert (path / "data").stat().st_size == 10


def test_an_entry_appears_complete_or_not_at_all(cache):
    def interrupt(folder):
        fill(5)(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.fetch({"a": 1}, 10, interrupt)
    assert cache.list_entries() == []
    shutil.copytree(cache.folder, cache.folder.with_name("copy"))
    assert not any(path.is_dir() for path in cache.folder.iterdir())


def test_the_leftovers_of_a_killed_process_are_removed(cache):
    path, _ = cache.fetch({"a": 1}, 10, fill(10))
    left = path.rename(path.with_name(f".{path.name}.abc_1234.part"))
    cache.fetch({"a": 1}, 10, fill(10))
    assert not left.exists()


def test_what_a_killed_process_left_is_removed_for_other_entries_too(cache):
    path, _ = cache.fetch({"a": 1}, 10, fill(10))
    left = path.rename(path.with_name(f".{path.name}.abc_1234.part"))
    reservation = cache.folder / f"{path.name}.reserved"
    reservation.write_text("900")
    cache.fetch({"a": 2}, 500, fill(10))
    assert not left.exists()
    assert not reservation.exists()


def test_several_writers_together_keep_the_limit(cache):
    def make_another(folder):
        fill(400)(folder)
        with pytest.raises(NoRoom, match="and there is room for 4e-07, as other processes write 6e-07"):
            cache.fetch({"b": 2}, 600, fail)
        cache.fetch({"b": 3}, 100, fill(100))

    cache.fetch({"a": 1}, 600, make_another)
    assert sum(entry.size for entry in cache.list_entries()) < 1000


def test_the_least_recently_used_entries_are_deleted_for_new_ones(cache):
    paths = [cache.fetch({"number": number}, 200, fill(200))[0] for number in range(3)]
    for age, path in zip((100, 300, 200), paths, strict=True):
        os.utime(path / "manifest.json", (1e9 - age, 1e9 - age))
    cache.fetch({"number": 0}, 200, fail)  # is used now
    cache.fetch({"number": 3}, 500, fill(200))
    assert [path.exists() for path in paths] == [True, False, False]


def test_the_available_bytes_are_what_params_allow_or_what_the_disk_has(cache, monkeypatch):
    assert cache.available_bytes() == 1000
    path, _ = cache.fetch({"a": 1}, 100, fill(100))
    taken = sum(file.stat().st_size for file in path.iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=50))
    assert cache.available_bytes() == taken + 50
    cache.fetch({"a": 2}, 100, fill(100))
    assert not path.exists()  # the disk had no room for both


def fetch_slowly(folder):
    def make(part):
        with (folder / "made").open("a") as file:
            file.write("once\n")
        time.sleep(1.5)
        fill(10)(part)

    return FolderCache(folder / "cache", 1000).fetch({"a": 1}, 10, make)[1]


def test_only_one_of_several_processes_computes_an_entry(tmp_path):
    with get_context("spawn").Pool(3) as pool:
        found = pool.map(fetch_slowly, [tmp_path] * 3)
    assert sorted(found) == [False, True, True]
    assert (tmp_path / "made").read_text() == "once\n"
