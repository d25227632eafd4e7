"""Clean and tokenize `data/raw` with the tokenizer of `models/base` into `data/tokenized`, and count what is in it.

python -m stages.preprocess
"""

import tempfile
from pathlib import Path

from stages.lib.encoding import encode_split, load_tokenizer, save_splits
from stages.lib.files import new_folder, read_json, sha256, write_json
from stages.lib.params import Params
from stages.lib.timing import run_stage
from stages.lib.token_statistics import overlap

RAW, BASE = Path("data/raw"), Path("models/base")
TOKENIZED, STATISTICS = Path("data/tokenized"), Path("data/statistics.json")


def main() -> None:
    params = Params.load()
    manifest = read_json(RAW / "dataset.json")
    tokenizer = load_tokenizer(BASE, params.preprocess.max_length)
    tallies, arrows = {}, {}
    with new_folder(TOKENIZED) as folder, tempfile.TemporaryDirectory(dir=folder.parent, prefix=".arrow-") as part:
        for split in manifest["splits"]:
            arrows[split] = Path(part) / f"{split}.arrow"
            tallies[split] = encode_split(
                RAW / f"{split}.parquet", arrows[split], manifest["labels"], tokenizer, params.preprocess
            )
        checksum = save_splits(arrows, folder)
        tokenizer.save_pretrained(folder / "tokenizer")
    statistics = {
        "raw_sha256": sha256(RAW / "dataset.json"),
        "tokenized_sha256": checksum,
        "splits": {
            split: {"raw_sha256": manifest["splits"][split]["sha256"]} | tally.summary()
            for split, tally in tallies.items()
        },
        "texts_in_train_and_test": overlap(tallies["train"], tallies["test"]),
        "texts_in_train_and_validation": overlap(tallies["train"], tallies["validation"]),
    }
    write_json(STATISTICS, statistics)
    print_summary(statistics)


def print_summary(statistics: dict) -> None:
    for split, values in statistics["splits"].items():
        print(
            f"{TOKENIZED}/{split}: {values['rows']:,} rows, {values['length']['p50']} tokens at the median, "
            f"{values['share_truncated']:.1%} truncated, {values['empty_texts']} empty, {values['duplicates']} repeated"
        )
    print(f"{statistics['texts_in_train_and_test']} texts are in train and in test; more in {STATISTICS}")


if __name__ == "__main__":
    run_stage("preprocess", main)
