"""Show random rows of each split before training: label, length, and the text decoded from its tokens.

python -m stages.preview [--rows 5] [--split train] [--seed 1] [--full]
"""

import argparse
import random
import shutil
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from stages.core.arguments import count
from stages.core.errors import escape_control
from stages.core.files import read_json
from stages.core.paths import STATISTICS, TOKENIZED, TOKENIZER
from stages.core.problem_type import LABEL_SEPARATOR
from stages.core.stage import report_errors
from stages.text.encoding import load_splits
from stages.text.labels import get_label_names


def main() -> None:
    arguments = parse_arguments()
    data = load_splits(TOKENIZED)
    statistics = read_json(STATISTICS)
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    for split in [arguments.split] if arguments.split else data:
        rows = choose_rows(data[split], arguments.rows, arguments.seed)
        print_header(split, statistics["splits"][split])
        print_rows(data[split], rows, tokenizer, arguments.full)


def choose_rows(split: Dataset, count: int, seed: int | None) -> list[int]:
    """At most `count` random row numbers, ascending."""
    return sorted(random.Random(seed).sample(range(len(split)), min(count, len(split))))


def print_header(name: str, statistics: dict[str, Any]) -> None:
    shares = ", ".join(f"{escape_control(label)} {share:.1%}" for label, share in statistics["share_classes"].items())
    windows = f" in {statistics['windows']:,} windows" if "windows" in statistics else ""
    print(f"\n{name}: {statistics['rows']:,} rows{windows} ({shares})")


def print_rows(split: Dataset, rows: list[int], tokenizer: PreTrainedTokenizerBase, full: bool) -> None:
    """A line for each row, shortened to the terminal's width unless `full`; the number is that of the document."""
    names = [escape_control(name) for name in get_label_names(split)]
    labels = [join_names(split[row]["labels"], names) for row in rows]
    label_width = max(map(len, ["label", *labels]))
    what = "window" if "document" in split.column_names else "text"
    print(f"{'row':>9}  {'label':<{label_width}}  tokens  {what}, decoded from its tokens")
    for index, label in zip(rows, labels, strict=True):
        row = split[index]
        head = f"{row.get('document', index):>9,}  {label:<{label_width}}  {row['length']:>6}  "
        text = escape_control(" ".join(str(tokenizer.decode(row["input_ids"])).split()))
        print(head + (text if full else shorten(text, shutil.get_terminal_size().columns - len(head))))


def join_names(labels: int | list[int], names: list[str]) -> str:
    """The name of a row's label, or the names of its labels."""
    return names[labels] if isinstance(labels, int) else LABEL_SEPARATOR.join(names[label] for label in labels)


def shorten(text: str, width: int) -> str:
    """The beginning and the end of a text that is too long for a line."""
    half = max(width - 3, 20) // 2
    return text if len(text) <= width else f"{text[:half]}...{text[-half:]}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.preview", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=count, default=5, help="rows of each split (default: 5)")
    parser.add_argument("--split", choices=("train", "validation", "test"), help="one split only")
    parser.add_argument("--seed", type=int, help="repeat a choice (default: another one each time)")
    parser.add_argument("--full", action="store_true", help="complete texts, not their beginnings and ends")
    return parser.parse_args()


if __name__ == "__main__":
    with report_errors("preview"):
        main()
