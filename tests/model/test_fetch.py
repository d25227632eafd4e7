import pytest

from stages.model.fetch import read_license


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense: [a\n---\n", "unknown"),
        ("---\nlicense: [mit, other]\n---\n", "unknown"),
        ("no head", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_license_is_that_of_the_base_models_card(tmp_path, text, expected):
    if text is not None:
        (tmp_path / "README.md").write_text(text)
    assert read_license(tmp_path / "README.md") == expected
