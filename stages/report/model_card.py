"""The model card: what a model was made of, its results, how to use and publish it, and what it is not good for.

Its head is YAML as the Hugging Face hub reads it. Two runs that make the same model write the same bytes.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.report.decisions import NOTHING_FITTED, Decisions
from stages.report.facts import RunFacts
from stages.report.rendering import name_source, render_template
from stages.report.summary import MOST_CLASSES, Summary

if TYPE_CHECKING:
    from huggingface_hub import EvalResult
    from transformers import PreTrainedTokenizerBase

MODEL_NAME = "text-classifier"  # of the results in the card's head; the hub shows the repository's name instead
# What the hub calls the results that it shows, with the arguments of its metric.
HUB_METRICS: dict[str, tuple[str, dict[str, str] | None]] = {
    "accuracy": ("accuracy", None),
    "f1_micro": ("f1", {"average": "micro"}),
    "f1_macro": ("f1", {"average": "macro"}),
}


def make_card(
    summary: Summary,
    facts: RunFacts,
    validation: dict[str, float],
    tokenizer: "PreTrainedTokenizerBase",
    decisions: Decisions = NOTHING_FITTED,
) -> str:
    """The text of the card; `validation` is the one of the checkpoint that was chosen, the tokenizer is the model's."""
    source = facts.manifest["source"]
    splits = facts.statistics["splits"]
    params = {key: value for key, value in facts.shown_params.items() if key == "seed" or key.startswith("train.")}
    values = {
        "head": make_head(summary, facts),
        "base": facts.base.get("hub") or Path(facts.base.get("folder", "")).name,
        "revision": facts.base.get("revision"),
        "license": facts.base.get("license") or "unknown",
        "is_scratch": not facts.base,
        "library": facts.library,
        "data": name_source(source),
        "data_revision": source["revision"],
        "is_demo": source["source"] == "demo",
        "has_pairs": "text_pair" in facts.manifest["columns"],
        "decisions": decisions,
        "names": facts.manifest["labels"],
        "splits": splits,
        "shares": splits["train"]["share_classes"],
        "labels": summary.labels,
        "is_multi_label": summary.is_multi_label,
        "kind": "label" if summary.is_multi_label else "class",
        "kinds": "labels" if summary.is_multi_label else "classes",
        "has_thresholds": summary.has_thresholds,
        "missing_classes": facts.statistics["missing_classes"],
        "most_classes": MOST_CLASSES,
        "metrics": summary.metrics,
        "intervals": summary.intervals,
        "validation": validation,
        "params": params,
        "max_length": tokenizer.model_max_length,
        "stride": tokenizer.init_kwargs.get("window_stride"),
        "kept_part": "beginning" if tokenizer.truncation_side == "right" else "end",
    }
    return render_template("model_card.md", values)


def make_head(summary: Summary, facts: RunFacts) -> str:
    """The card's head as YAML."""
    from huggingface_hub import ModelCardData

    source = facts.manifest["source"]
    head = ModelCardData(
        license=facts.base.get("license") or "unknown",
        library_name=facts.library,
        pipeline_tag="text-classification",
        tags=["text-classification"],
        base_model=facts.base.get("hub"),
        datasets=[source["path"]] if source["source"] == "hub" else None,
        metrics=["accuracy", "f1", "precision", "recall"],
        model_name=MODEL_NAME,
        eval_results=make_eval_results(summary, source),
    )
    return head.to_yaml()


def make_eval_results(summary: Summary, source: dict[str, Any]) -> list["EvalResult"]:
    """The test results that the hub shows beside a model."""
    from huggingface_hub import EvalResult

    is_on_hub = source["source"] == "hub"
    return [
        EvalResult(
            task_type="text-classification",
            dataset_type=source["path"] if is_on_hub else source["source"],
            dataset_name=name_source(source),
            dataset_split="test",
            dataset_revision=source["revision"] if is_on_hub else None,
            metric_type=metric,
            metric_name=summary.labels[key],
            metric_args=arguments,
            metric_value=round(summary.metrics[key], 4),
        )
        for key, (metric, arguments) in HUB_METRICS.items()
        if key in summary.metrics
    ]
