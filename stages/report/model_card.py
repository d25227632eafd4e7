"""The model card: what a model was made of, how good it is on validation, how to use it, and what it is not good for.

Its head is YAML as the Hugging Face hub reads it. Nothing in it differs between two runs that make the same model.
"""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TEMPLATE = Path(__file__).parent / "templates" / "model_card.md"


def make_card(
    origin: dict[str, Any],
    manifest: dict[str, Any],
    statistics: dict[str, Any],
    validation: dict[str, float],
    train: dict[str, Any],
    tokenizer: Any,
) -> str:
    """The text of the card: origin of the base model, manifest and statistics of the data, the chosen validation."""
    from huggingface_hub import ModelCard, ModelCardData

    source = manifest["source"]
    head = ModelCardData(
        license=origin.get("license") or "unknown",
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["text-classification"],
        base_model=origin.get("hub"),
        datasets=[source["path"]] if source["source"] == "hub" else None,
        metrics=["accuracy", "f1", "precision", "recall"],
    )
    card = ModelCard.from_template(
        head,
        template_path=str(TEMPLATE),
        base=code(origin["hub"]) if "hub" in origin else code(Path(origin.get("folder", "")).name),
        revision=origin.get("revision"),
        scratch=not origin,
        data=code(name_of_source(source)),
        demo=source["source"] == "demo",
        data_revision=source["revision"],
        pairs="text_pair" in manifest["columns"],
        labels=[code(label) for label in manifest["labels"]],
        splits={split: statistics["splits"][split] for split in ("train", "validation")},
        shares={code(name): share for name, share in statistics["splits"]["train"]["share_classes"].items()},
        validation=validation,
        train={key: code(value) for key, value in train.items()},
        max_length=tokenizer.model_max_length,
        stride=tokenizer.init_kwargs.get("window_stride"),
        keeps="beginning" if tokenizer.truncation_side == "right" else "end",
    )
    return f"{card}\n"


def name_of_source(source: dict[str, Any]) -> str:
    """What may be published: of a URL no password and no query, of a path on this machine only the name."""
    path = source["path"]
    if path is None or source["source"] == "hub":
        return path or source["source"]
    if "://" in path:
        url = urlsplit(path)
        return f"{url.scheme}://{url.hostname}{url.path}"
    return Path(path).name


def code(value: Any) -> str:
    """A value as code in a Markdown table, where it is neither markup, nor mentions people, nor ends the cell."""
    text = " ".join(str(value).split()).replace("`", "'").replace("|", "\\|")
    return f"`{text or ' '}`"
