import math
import re

import pytest
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import dumps_yaml as dump_as_dvc
from dvc.utils.serialize import parse_yaml as parse_as_dvc
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.core.errors import UserError
from stages.core.params import Params
from stages.core.yaml_files import parse_yaml, read_yaml

SPECIAL = (
    "no yes on off y n true True null ~ 010 0o17 0x1F 0b11 1:30 1_000 1e5 2e-5 .5 +1 -.inf .nan 2001-01-01 = << "
    "!!str !!float !!int !!bool !!null !!timestamp !!binary !!set !!omap !!pairs !!seq !!map %YAML"
).split()
PARTS = st.sampled_from([*SPECIAL, "a", "0", "7", "_", ":", ".", "-", "+", "e", "o", "x", "'", '"', " ", "#", "&", "|"])
PLAIN = st.lists(PARTS, max_size=5).map("".join) | st.text(max_size=9)
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.sampled_from(SPECIAL)


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("true", True), ("010", 10), ("0o17", 15), ("1:30", "1:30"),
        ("1_000", 1000), ("2e-5", 2e-5), ("'010'", "010"), ("null", None),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(scalar, value):
    found = parse_yaml(f"a: {scalar}", "a.yaml")["a"]
    assert (found, type(found)) == (value, type(value))


@given(PLAIN)
@settings(max_examples=300)
@example("!!float")
@example("!!bool 7")
def test_every_value_is_read_as_dvc_reads_it_or_refused(scalar):
    text = f"a: {scalar}"
    try:
        expected = parse_as_dvc(text, "a.yaml")
    except Exception:  # of many kinds
        with pytest.raises(UserError, match=r"a.yaml: cannot be read as YAML"):
            parse_yaml(text, "a.yaml")
        return
    try:
        found = parse_yaml(text, "a.yaml")
    except UserError as error:
        assert re.search(r"aliases \(\*\) are not allowed|is given twice", str(error))  # noqa: PT017
        return
    assert repr(found) == repr(expected)  # also the types, and NaN


@given(st.dictionaries(st.text(min_size=1) | st.sampled_from(SPECIAL), VALUES, min_size=1))
@example({"1": "no", "no": "010"})
def test_what_dvc_writes_is_read_as_dvc_reads_it(values):
    text = dump_as_dvc(values)
    assert parse_yaml(text, "a.yaml") == parse_as_dvc(text, "a.yaml")


@given(st.text() | st.binary())
def test_any_file_is_read_or_an_error_of_the_user(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    try:
        assert isinstance(read_yaml(path), dict)
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017


def test_names_of_labels_survive_that_dvc_changes_another_param(write_params):
    names = {"no": "no", "yes": "yes", "010": "1:30", "2": "on"}
    path = write_params({"data.source": "csv", "data.path": "a.csv", "data.label_names": names})
    apply_overrides(path, ["train.freeze_layers=1"])
    params = Params.load(path)
    assert (params.data.label_names, params.train.freeze_layers) == (names, 1)


def test_a_number_that_is_too_long_is_an_error_of_the_user():
    with pytest.raises(UserError, match=r"a.yaml: cannot be read as YAML: .*4300"):
        parse_yaml(f"a: {'1' * 5000}", "a.yaml")


def test_an_infinite_number_is_one():
    assert math.isinf(parse_yaml("a: .inf", "a.yaml")["a"])
