import pytest
import yaml

from stages.verification.outputs import NOT_COMPARED, NOT_HERE, ComparedOutput, compare_outputs, read_outputs


@pytest.fixture
def make_checkout(tmp_path):
    """Write a folder with a `dvc.lock` and one output, `data/a.csv`."""

    def make(name, checksum, content=None):
        folder = tmp_path / name
        (folder / "data").mkdir(parents=True)
        outputs = {"data/a.csv": checksum, next(iter(NOT_COMPARED)) + "x.json": name}
        outs = [{"path": path, "md5": md5} for path, md5 in outputs.items()]
        (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": {"none": {"cmd": "x"}, "make": {"outs": outs}}}))
        if content:
            (folder / "data/a.csv").write_text(content)
        return folder

    return make


def test_outputs_have_stage_and_checksum(make_checkout):
    assert read_outputs(make_checkout("one", "123") / "dvc.lock")["data/a.csv"] == ("make", "123")


def test_outputs_with_the_same_checksum_are_identical(make_checkout):
    compared = list(compare_outputs(make_checkout("one", "123"), make_checkout("two", "123")))
    assert compared == [ComparedOutput("make", "data/a.csv", True, [])]


@pytest.mark.parametrize(
    ("content", "difference"), [("1\n2\n", "1 lines differ, the first is line 2"), (None, NOT_HERE)]
)
def test_a_difference_is_described_if_the_expected_file_is_here(make_checkout, content, difference):
    compared = list(compare_outputs(make_checkout("one", "123", content), make_checkout("two", "456", "1\n3\n")))
    assert compared == [ComparedOutput("make", "data/a.csv", False, [difference])]
