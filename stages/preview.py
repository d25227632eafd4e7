"""Show random rows of each split: label, length, and the tokens decoded back. What one looks at before training.

python -m stages.preview [--rows 5] [--split train] [--seed 1] [--full]
"""

import argparse
import random
import shutil
from pathlib import Path

from transformers import AutoTokenizer

from stages.core.errors import escape_control
from stages.core.files import read_json
from stages.core.stage import report_errors
from stages.text.encoding import load_splits

TOKENIZED, STATISTICS = Path("data/tokenized"), Path("data/statistics.json")


def main() -> None:
    arguments = parse_arguments()
    data, statistics = load_splits(TOKENIZED), read_json(STATISTICS)
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZED / "tokenizer")
    for split in [arguments.split] if arguments.split else data:
        values, names = statistics["splits"][split], data[split].features["labels"].names
        chosen = random.Random(arguments.seed).sample(range(len(data[split])), min(arguments.rows, len(data[split])))
        shares = ", ".join(f"{name} {share:.1%}" for name, share in values["share_classes"].items())
        width = max(len("label"), *map(len, names))
        windows = f" in {values['windows']:,} windows" if "windows" in values else ""
        print(f"\n{split}: {values['rows']:,} rows{windows} ({shares})")
        what = "window" if windows else "text"
        print(f"{'row':>9}  {'label':<{width}}  tokens  {what}, decoded from its tokens")
        for index in sorted(chosen):
            row = data[split][index]
            head = f"{row.get('document', index):>9,}  {names[row['labels']]:<{width}}  {row['length']:>6}  "
            text = escape_control(" ".join(tokenizer.decode(row["input_ids"]).split()))
            print(head + (text if arguments.full else shorten(text, shutil.get_terminal_size().columns - len(head))))


def shorten(text: str, width: int) -> str:
    """The beginning and the end of a text that is too long for a line."""
    half = max(width - 3, 20) // 2
    return text if len(text) <= width else f"{text[:half]}...{text[-half:]}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.preview", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5, help="rows a split (default: 5)")
    parser.add_argument("--split", choices=("train", "validation", "test"), help="one split only")
    parser.add_argument("--seed", type=int, help="repeat a choice (default: another one each time)")
    parser.add_argument("--full", action="store_true", help="whole texts, not their beginnings and ends")
    arguments = parser.parse_args()
    if arguments.rows < 1:
        parser.error(f"--rows: found {arguments.rows}; allowed: a whole number ≥ 1")
    return arguments


if __name__ == "__main__":
    with report_errors("preview"):
        main()
