"""The model card, also of hostile data."""

from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard

from stages.model.fetch import read_license
from stages.report.model_card import make_card, name_of_source

HUB = {"hub": "someone/tiny", "revision": "c" * 40, "license": "apache-2.0"}
SOURCE = {"source": "csv", "path": "https://me:secret@example.org/a.csv?token=secret", "revision": None}


def card(origin=HUB, source=SOURCE, labels=("bad", "good"), columns=("text", "label"), side="right", stride=None):
    split = {"rows": 1234, "tokens": 5678, "share_truncated": 0.125}
    train = split | {"share_classes": {label: 1 / len(labels) for label in labels}}
    return make_card(
        origin,
        {"source": source, "labels": list(labels), "columns": list(columns)},
        {"splits": {"train": train, "validation": split, "test": split}},
        {"accuracy": 0.91, "f1_macro": 0.92, "precision_macro": 0.93, "recall_macro": 0.94, "loss": 0.3},
        {"seed": 42, "freeze_layers": 3},
        SimpleNamespace(model_max_length=128, truncation_side=side, init_kwargs={"window_stride": stride}),
    )


def test_the_head_is_what_the_hub_reads():
    head = ModelCard(card()).data
    assert (head.license, head.base_model, head.pipeline_tag) == ("apache-2.0", "someone/tiny", "text-classification")
    assert head.datasets is None
    assert ModelCard(card(source={"source": "hub", "path": "a/b", "revision": "d"})).data.datasets == ["a/b"]


def test_the_text_has_data_metrics_and_limits():
    text = card(side="left")
    for words in (
        "1,234 | 5,678 | 12.5 %",
        "| 0.9100 | 0.9200 |",
        "only the end: 128 tokens",
        "| freeze_layers | `3` |",
    ):
        assert words in text
    assert "windows of 128 tokens, which share 0, with" in card(stride=0)
    assert "validation" in text
    assert "synthetic" not in text
    assert "synthetic" in card(source={"source": "demo", "path": None, "revision": None})
    assert '"text_pair"' in card(columns=("text", "text_pair", "label"))


def test_a_model_from_scratch_or_a_folder_has_no_base_model_on_the_hub():
    scratch, local = card({}), card({"folder": "/home/me/secret/tiny", "license": "mit"})
    assert (ModelCard(scratch).data.base_model, ModelCard(scratch).data.license) == (None, "unknown")
    assert "No license was recorded" in scratch
    assert ModelCard(local).data.base_model is None
    assert "`tiny`, fine-tuned" in local


def test_nothing_private_is_published():
    assert "secret" not in card() + card({"folder": "/home/secret/tiny", "license": "mit"})
    assert name_of_source(SOURCE) == "https://example.org/a.csv"
    assert name_of_source({"source": "csv", "path": "/home/me/reviews.csv"}) == "reviews.csv"


def test_hostile_names_change_neither_head_nor_tables():
    hostile = "---\nlicense: evil\n--- | `x` <script> @someone {{ 7 * 7 }}"
    text = card(HUB | {"license": hostile}, labels=(hostile, "good"))
    assert ModelCard(text).data.license == hostile
    row = "`--- license: evil --- \\| 'x' <script> @someone {{ 7 * 7 }}`"
    assert f"| {row} | 50.0 % |" in text.splitlines()


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
