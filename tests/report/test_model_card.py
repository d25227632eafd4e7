"""The model card, also of hostile data."""

from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard
from support.run_facts import make_facts, make_summary

from stages.report.model_card import make_card

HUB_SOURCE = {"source": "hub", "path": "a/b", "revision": "d"}
DEMO_SOURCE = {"source": "demo", "path": None, "revision": None}
VALIDATION = {
    "step": 5, "accuracy": 0.91, "f1_macro": 0.92, "precision_macro": 0.93, "recall_macro": 0.94, "loss": 0.3, "best": 1
}  # fmt: skip


def make(labels=("bad", "good"), side="right", stride=None, results=None, **facts):
    """The text of a card."""
    tokenizer = SimpleNamespace(model_max_length=128, truncation_side=side, init_kwargs={"window_stride": stride})
    return make_card(make_summary(labels, **results or {}), make_facts(labels, **facts), VALIDATION, tokenizer)


def test_the_head_is_what_the_hub_reads():
    head = ModelCard(make()).data
    assert (head.license, head.base_model, head.pipeline_tag) == ("apache-2.0", "someone/tiny", "text-classification")
    assert head.datasets is None
    assert ModelCard(make(source=HUB_SOURCE)).data.datasets == ["a/b"]


@pytest.mark.parametrize(("source", "name"), [(HUB_SOURCE, "a/b"), (DEMO_SOURCE, "demo")])
def test_the_head_has_the_test_results(source, name):
    metrics = make_summary().metrics
    found = ModelCard(make(source=source)).data.eval_results
    assert {result.metric_type: result.metric_value for result in found} == {
        "accuracy": round(metrics["accuracy"], 4), "f1": round(metrics["f1_macro"], 4)
    }  # fmt: skip
    assert {(result.dataset_type, result.dataset_split) for result in found} == {(name, "test")}


def test_test_and_validation_results_are_in_one_table():
    summary = make_summary()
    (row,) = (line for line in make().splitlines() if line.startswith("| Accuracy |"))
    low, high = summary.intervals["accuracy"]
    assert row == f"| Accuracy | {summary.metrics['accuracy']:.4f} | {low:.3f}–{high:.3f} | 0.9100 |"
    (row,) = (line for line in make().splitlines() if line.startswith("| Lowest recall of a class |"))
    assert row == f"| Lowest recall of a class | {summary.metrics['recall_worst_class']:.4f} |  |  |"


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("1,234 | 5,678 | 12.5 %", {}),
        ("truncated: it reads only the beginning", {}),
        ("longer than 128 tokens are truncated: it reads only the end", {"side": "left"}),
        ("windows of 128 tokens, which overlap by 0", {"stride": 0}),
        ("| train.freeze_layers | `3` |", {}),
        ('"text_pair"', {"columns": ("text", "text_pair", "label")}),
        ("synthetic", {"source": DEMO_SOURCE}),
        ("The test split had no rows of 1 of its classes", {"missing": {"test": {"rare": 7}}}),
        ("copy this file into models/classifier as README.md", {}),
    ],
)
def test_the_text_has_data_limits_and_params(words, options):
    assert words in make(**options)


def test_a_card_of_several_labels_a_text_says_how_to_get_all_of_them():
    text = make(results={"is_multi_label": True})
    assert 'function_to_apply="sigmoid", top_k=None)' in text
    assert "A text gets each label whose probability is\n0.5 or more." in text
    assert "has, several of them, one or none:\n`bad`, `good`." in text
    assert "| Subset accuracy (all labels right) | 0." in text
    assert "class" not in text.replace("classif", "").replace("Classif", "")
    found = [(one.metric_type, one.metric_args) for one in ModelCard(text).data.eval_results]
    assert found == [("accuracy", None), ("f1", {"average": "micro"}), ("f1", {"average": "macro"})]
    fitted = make(results={"is_multi_label": True, "thresholds": [0.25, 0.75]})
    assert "its threshold or more: those in config.json" in fitted
    assert "logits.sigmoid()" in make(results={"is_multi_label": True}, library="sentence-transformers")


def test_only_the_demo_corpus_is_called_synthetic():
    assert "synthetic" not in make()


def test_a_model_from_scratch_or_a_folder_has_no_base_model_on_the_hub():
    scratch = make(base={})
    local = make(base={"folder": "/home/me/secret/tiny", "license": "mit"})
    assert (ModelCard(scratch).data.base_model, ModelCard(scratch).data.license) == (None, "unknown")
    assert "No license was recorded" in scratch
    assert ModelCard(local).data.base_model is None
    assert "`tiny`, fine-tuned" in local


def test_nothing_private_is_published():
    assert "secret" not in make() + make(base={"folder": "/home/secret/tiny", "license": "mit"})


def test_equal_runs_have_equal_cards():
    assert make() == make()


def test_hostile_names_change_neither_head_nor_tables():
    hostile = "---\nlicense: evil\n--- | `x` <script> @someone {{ 7 * 7 }}"
    text = make((hostile, "good"), base={"hub": "someone/tiny", "revision": "c" * 40, "license": hostile})
    assert ModelCard(text).data.license == hostile
    row = "`--- license: evil --- \\| 'x' <script> @someone {{ 7 * 7 }}`"
    assert f"| {row} | 50.0 % |" in text.splitlines()
