import pytest

from stages.core.errors import UserError
from stages.core.files import main_checkout, new_file, new_folder, read_json, write_json


def test_an_interrupted_file_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="stop"), new_file(path) as part:
        part.write_text("new")
        raise RuntimeError("stop")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("existed", [True, False])
def test_an_interrupted_folder_leaves_the_old_one_or_nothing(tmp_path, existed):
    folder = tmp_path / "data"
    if existed:
        folder.mkdir()
        (folder / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), new_folder(folder) as part:
        (part / "a").write_text("new")
        raise KeyboardInterrupt
    assert [file.read_text() for file in tmp_path.rglob("a")] == ["old"] * existed
    assert len(list(tmp_path.iterdir())) == existed


def test_a_finished_folder_replaces_the_old_one(tmp_path):
    for content in ("old", "new"):
        with new_folder(tmp_path / "data") as part:
            (part / content).write_text(content)
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "new"]


def test_the_leftovers_of_a_killed_process_are_removed_with_the_next_folder(tmp_path):
    for name in (".data.abc_1234.part", ".data.abc_1234.old", ".data.v2.abc_1234.part"):
        (tmp_path / name).mkdir()
    with new_folder(tmp_path / "data"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".data.v2.abc_1234.part", "data"]


def test_the_message_about_broken_json_names_the_file(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a.json: not valid JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"b.json: missing; run `dvc repro`"):
        read_json(tmp_path / "b.json")


def test_json_keeps_letters_of_all_languages(tmp_path):
    write_json(tmp_path / "a.json", {"label": "好"})
    assert "好" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"label": "好"}


def test_the_main_checkout_is_the_one_that_dvc_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert main_checkout() == tmp_path
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "main"))
    assert main_checkout() == tmp_path / "main"
