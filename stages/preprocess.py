"""Clean and tokenize `data/raw` with the tokenizer of `models/base` into `data/tokenized`, and write its statistics.

python -m stages.preprocess
"""

from functools import partial
from typing import Any

from transformers import PreTrainedTokenizerBase

from stages.core.arguments import refuse_arguments
from stages.core.errors import UserError
from stages.core.files import check_sha256, new_folder, read_json, sha256, write_json
from stages.core.params import Params, Preprocess
from stages.core.paths import BASE, MANIFEST, RAW, STATISTICS, TOKENIZED
from stages.core.stage import run_stage
from stages.model.folder import has_token_types, has_tokenizer, read_config
from stages.text.encoding import encode_split, index_splits, read_cleaned_texts
from stages.text.statistics import SplitStatistics
from stages.text.tokenizer import configure, load_tokenizer, train_tokenizer

MANIFEST_KEYS = (
    "columns",
    "labels",
    "problem_type",
    "is_ordinal",
    "splits",
    "ignored",
    "dropped",
    "leaks",
    "missing_classes",
)


def main() -> None:
    params = Params.load()
    manifest = read_manifest()
    has_pairs = "text_pair" in manifest["columns"]
    tokenizer = prepare_tokenizer(params.preprocess, has_pairs)
    with new_folder(TOKENIZED) as folder:
        splits = {}
        for split in manifest["splits"]:
            splits[split] = encode_split(
                raw=RAW / f"{split}.parquet",
                folder=folder / split,
                labels=manifest["labels"],
                problem_type=manifest["problem_type"],
                tokenizer=tokenizer,
                preprocess=params.preprocess,
                has_types=has_token_types(BASE),
            )
        tokenized_sha256 = index_splits(folder, splits)
        tokenizer.save_pretrained(folder / "tokenizer")
        statistics = collect_statistics(manifest, splits, tokenized_sha256, len(tokenizer))
        write_json(STATISTICS, statistics)
    print_summary(statistics)


def read_manifest() -> dict[str, Any]:
    """The manifest that `download` wrote; UserError when the files are not those that it lists."""
    manifest = read_json(MANIFEST, MANIFEST_KEYS)
    for split, values in manifest["splits"].items():
        path = RAW / f"{split}.parquet"
        if not path.is_file():
            raise UserError(f"{path}: missing; delete {RAW} and run `dvc repro download`, which makes it.")
        check_sha256(path, values["sha256"], str(path), f"delete {RAW} and run `dvc repro download`, which makes it")
    return manifest


def prepare_tokenizer(preprocess: Preprocess, has_pairs: bool) -> PreTrainedTokenizerBase:
    """The tokenizer of `models/base`, or one trained on the training split where `models/base` has none."""
    if has_tokenizer(BASE):
        tokenizer = load_tokenizer(BASE)
    else:
        print("training a WordPiece tokenizer on the training split")
        texts = partial(read_cleaned_texts, RAW / "train.parquet", preprocess)
        tokenizer = train_tokenizer(texts, read_config(BASE)["vocab_size"])
    configure(tokenizer, BASE, preprocess, has_pairs)
    return tokenizer


def collect_statistics(
    manifest: dict[str, Any], splits: dict[str, SplitStatistics], tokenized_sha256: str, vocabulary: int
) -> dict[str, Any]:
    """What is written to `data/statistics.json`; `vocabulary` is the number of the tokenizer's tokens."""
    return {
        "raw_sha256": sha256(MANIFEST),
        "tokenized_sha256": tokenized_sha256,
        "columns": manifest["columns"],
        "is_ordinal": manifest["is_ordinal"],
        "vocabulary": vocabulary,
        "splits": {
            name: {"raw_sha256": manifest["splits"][name]["sha256"]} | split.summarize()
            for name, split in splits.items()
        },
        "ignored": manifest["ignored"],
        "dropped": manifest["dropped"],
        "leaks": manifest["leaks"],
        "missing_classes": manifest["missing_classes"],
    }


def print_summary(statistics: dict) -> None:
    for split, values in statistics["splits"].items():
        windows = f" in {values['windows']:,} windows" if "windows" in values else ""
        print(
            f"{TOKENIZED}/{split}: {values['rows']:,} rows{windows}, {values['length']['p50']} tokens at the median, "
            f"{values['share_truncated']:.1%} truncated, {values['empty_texts']} empty, {values['duplicates']} repeated"
        )
    dropped = sum(sum(counts.values()) for counts in statistics["dropped"].values())
    if dropped:
        print(f"{dropped:,} rows of the source were dropped, because they could not be used")
    print(f"more in {STATISTICS}")


if __name__ == "__main__":
    refuse_arguments("preprocess", __doc__)
    run_stage("preprocess", main)
