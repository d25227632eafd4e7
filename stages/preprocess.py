"""Clean and tokenize `data/raw` with the tokenizer of `models/base` into `data/tokenized`, and count what is in it.

python -m stages.preprocess
"""

from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from stages.core.errors import UserError
from stages.core.files import check_sha256, new_folder, read_json, sha256, write_json
from stages.core.param_sections import Preprocess
from stages.core.params import Params
from stages.core.stage import run_stage
from stages.model.folder import has_token_types, has_tokenizer, read_config
from stages.text.encoding import encode_split, index_splits, read_cleaned_texts
from stages.text.tokenizer import configure, load_tokenizer, train_tokenizer

RAW, BASE = Path("data/raw"), Path("models/base")
TOKENIZED, STATISTICS = Path("data/tokenized"), Path("data/statistics.json")


def main() -> None:
    params = Params.load()
    manifest = read_manifest()
    tokenizer = prepare_tokenizer(params.preprocess, "text_pair" in manifest["columns"])
    with new_folder(TOKENIZED) as folder:
        arguments = manifest["labels"], tokenizer, params.preprocess, has_token_types(BASE)
        tallies = {
            split: encode_split(RAW / f"{split}.parquet", folder / split, *arguments) for split in manifest["splits"]
        }
        checksum = index_splits(folder, tallies)
        tokenizer.save_pretrained(folder / "tokenizer")
        statistics = {
            "raw_sha256": sha256(RAW / "dataset.json"),
            "tokenized_sha256": checksum,
            "columns": manifest["columns"],
            "vocabulary": len(tokenizer),
            "splits": {
                split: {"raw_sha256": manifest["splits"][split]["sha256"]} | tally.summarize()
                for split, tally in tallies.items()
            },
            "ignored": manifest["ignored"],
            "dropped": manifest["dropped"],
            "leaks": manifest["leaks"],
        }
        write_json(STATISTICS, statistics)
    print_summary(statistics)


def read_manifest() -> dict[str, Any]:
    """What `download` says that it wrote; UserError when the files are not what it wrote."""
    manifest = read_json(RAW / "dataset.json", ("columns", "labels", "splits", "ignored", "dropped", "leaks"))
    for split, values in manifest["splits"].items():
        path = RAW / f"{split}.parquet"
        if not path.is_file():
            raise UserError(f"{path}: missing; delete {RAW} and run `dvc repro download`, which makes it.")
        check_sha256(path, values["sha256"], str(path), f"delete {RAW} and run `dvc repro download`, which makes it")
    return manifest


def prepare_tokenizer(preprocess: Preprocess, pairs: bool) -> PreTrainedTokenizerBase:
    """The tokenizer that `models/base` brings, or one trained on the training split where it brings none."""
    if has_tokenizer(BASE):
        tokenizer = load_tokenizer(BASE)
    else:
        print("training a WordPiece tokenizer on the training split")
        texts = partial(read_cleaned_texts, RAW / "train.parquet", preprocess)
        tokenizer = train_tokenizer(texts, read_config(BASE)["vocab_size"])
    configure(tokenizer, BASE, preprocess, pairs)
    return tokenizer


def print_summary(statistics: dict) -> None:
    for split, values in statistics["splits"].items():
        windows = f" in {values['windows']:,} windows" if "windows" in values else ""
        print(
            f"{TOKENIZED}/{split}: {values['rows']:,} rows{windows}, {values['length']['p50']} tokens at the median, "
            f"{values['share_truncated']:.1%} truncated, {values['empty_texts']} empty, {values['duplicates']} repeated"
        )
    dropped = sum(sum(counts.values()) for counts in statistics["dropped"].values())
    if dropped:
        print(f"{dropped:,} rows of the source were dropped, since they could not be used")
    print(f"more in {STATISTICS}")


if __name__ == "__main__":
    run_stage("preprocess", main)
