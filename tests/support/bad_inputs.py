"""Input that is broken or was made to do harm: the files, the stage that reads them, and its message."""

import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file


class Case(NamedTuple):
    """`prepare(workspace)` makes the input; `message` is a pattern of the error message; SERVER in params is a URL.

    `limit`: bytes that a file may have, as on a full disk.
    """

    name: str
    stage: str
    message: str
    prepare: Callable[[Path], Any] = lambda workspace: None
    params: dict[str, Any] = {}  # noqa: RUF012 - never changed
    limit: int | None = None


def write(name: str, content: str | bytes) -> Callable[[Path], Any]:
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    return lambda workspace: (workspace / name).write_bytes(data)


def truncate(name: str, size: int) -> Callable[[Path], Any]:
    """Remove the last bytes of a file that an earlier stage wrote."""
    return lambda workspace: os.truncate(path := next(workspace.glob(name)), path.stat().st_size - size)


def replace(name: str, old: str, new: str) -> Callable[[Path], Any]:
    return lambda workspace: (workspace / name).write_text((workspace / name).read_text().replace(old, new))


# Archives


def member(name: str, content: bytes = b"good", form: int = tarfile.PAX_FORMAT, **attributes: Any) -> bytes:
    """The bytes of one member of a tar, without the checks of tarfile, which would not write some of them."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    padded = content + bytes(-len(content) % 512)
    return info.tobuf(form, "utf-8", "surrogateescape") + padded


END = bytes(1024)
SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a", "GNU.sparse.realsize": "9"}
TEXT = member("train/pos/1.txt")


def packed(content: dict[str, bytes], change: Callable[[zipfile.ZipInfo], Any] = lambda info: None) -> bytes:
    """The bytes of a zip."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            info = zipfile.ZipInfo(name)
            change(info)
            archive.writestr(info, data)
    return file.getvalue()


def declare_size(size: int) -> bytes:
    """A zip with a file of a megabyte, for which it declares another size."""
    data = packed({"train/pos/1.txt": bytes(1 << 20)}, lambda info: setattr(info, "compress_type", 8))
    return data.replace(struct.pack("<I", 1 << 20), struct.pack("<I", size))


def archive(name: str, message: str, content: bytes, suffix: str = "tar", **params: Any) -> Case:
    values = {"data.source": "folder", "data.path": f"corpus.{suffix}"} | {f"data.{k}": v for k, v in params.items()}
    return Case(name, "download", rf"corpus.{suffix}: {message}", write(f"corpus.{suffix}", content), values)


OUTSIDE, NO_FILE, BROKEN, LARGE = (
    "'.*' leads outside",
    "'.*' is a link or device",
    "broken archive",
    "contains more",
)
ARCHIVES = [
    archive("tar with a path outside", OUTSIDE, member("train/../../out.txt") + END),
    archive("tar with an absolute path", OUTSIDE, member("/etc/passwd") + END),
    archive("tar with a drive", OUTSIDE, member("C:\\out.txt") + END),
    archive(
        "tar with a file behind a link", NO_FILE,
        member("train/pos", b"", type=b"2", linkname="/tmp") + member("train/pos/1.txt") + END,
    ),
    archive("tar with a hard link", NO_FILE, TEXT + member("a", b"", type=b"1", linkname="train/pos/1.txt") + END),
    archive("tar with a device", NO_FILE, member("train/pos/zero", b"", type=b"3", devmajor=1, devminor=5) + END),
    archive("tar with a pipe", NO_FILE, member("train/pos/pipe", b"", type=b"6") + END),
    archive("tar with a file with holes", NO_FILE, member("a", b"1\n0\n9\n" + bytes(506), pax_headers=SPARSE) + END),
    archive(
        "tar with an endless map of holes", f"{BROKEN} .a header is longer than 1,048,576 bytes",
        gzip.compress(member("a", b"9" * 12 + b"\n" + b"1\n" * (1 << 20), pax_headers=SPARSE) + END),
    ),
    archive("tar with a path twice", "contains 'train/pos/1.txt' twice", TEXT + member("./train//pos/1.txt") + END),
    archive("tar with NUL in a name", "'.*' is not a valid name", member("x", pax_headers={"path": "a\0b"}) + END),
    archive("tar with bytes as a name", "'.*' is not a valid name",
            member("train/caf\udce9", form=tarfile.USTAR_FORMAT) + END),
    archive("tar with a file without a name", "'.*' is not a valid name", member(".") + END),
    archive("tar with a long name that controls terminals", r"'\.\./\\x1b\[2J.* \.\.\. x*' leads",
            member("../\x1b[2J" + "x" * 9999) + END),
    archive("tar with an endless name", f"{BROKEN} .a header is longer", gzip.compress(member("x" * (2 << 20)) + END)),
    archive(
        "tar of more than is allowed", f"{LARGE} than the 0.0001 GB that data.max_size_gb allows", max_size_gb=0.0001,
        content=b"".join(member(f"train/pos/{number}.txt", bytes(30_000)) for number in range(4)) + END,
    ),
    archive(
        "tar that declares a size larger than any disk", LARGE, member("train/pos/1.txt", b"", size=1 << 60) + END,
    ),
    archive(
        "tar of very many empty files", LARGE, max_size_gb=0.0001,
        content=b"".join(member(f"train/pos/{number}.txt", b"") for number in range(50)) + END,
    ),
    archive("tar with an endless tail", LARGE, gzip.compress(TEXT + bytes(4 << 20)), "tar.gz", max_size_gb=0.001),
    archive("tar without its end", f"{BROKEN} .its end is missing", TEXT),
    archive("tar truncated in a header", f"{BROKEN} .truncated header", TEXT + member("train/pos/2.txt")[:300]),
    archive("tar truncated in a file", f"{BROKEN} .unexpected end",
            TEXT + member("train/pos/2.txt", bytes(9000))[:3000]),
    archive("tar with a changed header", f"{BROKEN} .bad checksum",
            TEXT + member("b").replace(b"b\0", b"c\0", 1) + END),
    archive("truncated tar.gz", f"{BROKEN} .Compressed file ended", gzip.compress(TEXT + END)[:-9], "tar.gz"),
    archive("tar.gz with another checksum", f"{BROKEN} .CRC", gzip.compress(TEXT + END)[:-8] + bytes(8), "tar.gz"),
    archive("junk as a tar", BROKEN, b"no archive" * 100),
    archive("zip with a path outside", OUTSIDE, packed({"../out.txt": b"x"}), "zip"),
    archive("zip with an absolute path", OUTSIDE, packed({"/out.txt": b"x"}), "zip"),
    archive(
        "zip with a link", NO_FILE, suffix="zip",
        content=packed({"train/pos/1.txt": b"/etc"}, lambda info: setattr(info, "external_attr", 0o120777 << 16)),
    ),
    archive("zip with a file without a name", "'' is not a valid name", packed({"": b"x"}), "zip"),
    archive("zip with a path twice", "contains 'a' twice", packed({"a": b"x", "./a": b"y"}), "zip"),
    archive("zip of more than is allowed", LARGE, packed({"a": bytes(300_000)}), "zip", max_size_gb=0.0001),
    archive("zip with more bytes than it declares", f"{BROKEN} .Bad CRC-32", declare_size(10), "zip"),
    archive("zip with fewer bytes than it declares", "'.*' does not have the size that the archive declares",
            declare_size(2 << 20), "zip"),
    archive("truncated zip", BROKEN, packed({"a": bytes(300_000)})[:-50], "zip"),
]  # fmt: skip


# Files of rows


def rows(name: str, message: str, content: str | bytes, suffix: str = "csv", **params: Any) -> Case:
    values = {"data.source": suffix.split(".")[0].removesuffix("l"), "data.path": f"rows.{suffix}"}
    return Case(
        name,
        "download",
        message,
        write(f"rows.{suffix}", content),
        values | {f"data.{k}": v for k, v in params.items()},
    )


def parquet(**columns: list) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


GOOD = "text,label\n" + "fine,a\npoor,b\n" * 20
TABLE = parquet(text=["fine", "poor"] * 2000, label=["a", "b"] * 2000)
LACKS = r"data.text_column: .*rows.csv has no column 'text'; it has"
ROWS = [
    rows("csv without the column", rf"{LACKS} body, label \(", "body,label\nfine,a\n"),
    rows("csv with a column twice", "data.label_column: .*rows.csv has several columns 'label'",
         "text,label,label\nx,a,b"),
    rows("csv with names that control terminals", rf"{LACKS} \\x1b\[2Jtext, label", "\x1b[2Jtext,label\nfine,a\n"),
    rows("csv with names of two lines", rf"{LACKS} te\\nxt, label", '"te\nxt",label\nfine,a\n'),
    rows("csv with long names", rf"{LACKS} x{{200}}\.\.\.", "x" * 10_000 + ",label\nfine,a\n"),
    rows("csv with empty names", rf"{LACKS} , , label \(", ",,label\nfine,,a\n"),
    rows("csv with NUL in a name", "a first row that is not utf-8, so check data.encoding", "te\0xt,label\nfine,a\n"),
    rows("csv of two encodings", r"text is not utf-8 \(1\): rows.csv row 41 \(line 42\)", GOOD + "caf\udce9,a\n"),
    rows("csv with an open quote", r"broken quotes \(1\): rows.csv row 41 \(line 42\)", GOOD + '"open,a\nfine,b\n'),
    rows("csv of another encoding", "rows.csv: cannot be read as utf-16", GOOD, encoding="utf-16"),
    rows("truncated csv.gz", "rows.csv.gz: cannot be read", gzip.compress(GOOD.encode())[:-9], "csv.gz"),
    rows(
        "csv.gz of more than is allowed", "rows.csv.gz: contains more than the 0.001 GB that data.max_size_gb allows",
        gzip.compress(GOOD.encode() * 4000), "csv.gz", max_size_gb=0.001,
    ),
    rows("json of other values", r"not a JSON object \(1\): rows.jsonl line 1", "3\n", "jsonl"),
    rows("json with objects in columns", "text is not a string", '{"text": {"a": 1}, "label": {"b": 2}}\n', "jsonl"),
    rows("json of deep nesting", "not valid JSON", '{"text": ' + "[" * 100_000, "jsonl"),
    rows("json with a lone surrogate", r"text is not utf-8 \(1\)", '{"text": "\\ud83d", "label": "a"}', "jsonl"),
    rows("truncated parquet", "rows.parquet: cannot be read as Parquet", TABLE[:-500], "parquet"),
    rows("parquet with junk in its footer", "rows.parquet: cannot be read", TABLE[:-400] + b"x" * 392 + TABLE[-8:],
         "parquet"),
    rows("parquet with junk in its pages", "rows.parquet: cannot be read", TABLE[:4] + b"x" * 90 + TABLE[94:],
         "parquet"),
    rows("parquet of numbers", "text is not a string", parquet(text=[1, 2], label=["a", "b"]), "parquet"),
    rows("parquet of lists of lists", "label is neither text nor a number", parquet(text=["x"], label=[[[1]]]),
         "parquet"),
    rows("a wrong checksum", r"data.sha256: .*its SHA-256 is \w{64}, expected 0000", GOOD, sha256="0" * 64),
    Case("a device as data", "download", "data.path: /dev/zero is neither a file nor a folder",
         params={"data.source": "csv", "data.path": "/dev/zero"}),
    Case("a path that is too long", "download", "cannot be read or written .File name too long",
         params={"data.source": "csv", "data.path": "x" * 5000}),
    Case("a download that is interrupted", "download",
         "data.path: http.*/truncated.csv cannot be fetched .*IncompleteRead",
         params={"data.source": "csv", "data.path": "SERVER/truncated.csv"}),
    Case("a download of other bytes", "download", "data.sha256: http.*/complete.csv: its SHA-256 is .*, expected 0000",
         params={"data.source": "csv", "data.path": "SERVER/complete.csv", "data.sha256": "0" * 64}),
    Case("a download that does not exist", "download", "data.path: http.*/none.csv cannot be fetched .404",
         params={"data.source": "csv", "data.path": "SERVER/none.csv"}),
]  # fmt: skip


# Several labels a row, groups, slices, and an order of labels


def splits(name: str, message: str, train: str, test: str, **params: Any) -> Case:
    """A folder of two CSV files."""

    def prepare(workspace: Path) -> None:
        (workspace / "rows").mkdir()
        write("rows/train.csv", train)(workspace)
        write("rows/test.csv", test)(workspace)

    values = {"data.source": "csv", "data.path": "rows"} | {f"data.{k}": v for k, v in params.items()}
    return Case(name, "download", message, prepare, values)


def listed(label: str) -> str:
    """Good JSON lines with lists of labels, and one with another value as its label."""
    return (
        '{"text": "fine", "label": ["a", "b"]}\n{"text": "poor", "label": []}\n' * 20
        + f'{{"text": "x", "label": {label}}}\n'
    )


SEVERAL = "text,label\n" + "fine,a;b\npoor,b\nneither,\n" * 20
SWITCHED = "text,bug,bill\n" + "fine,1,0\npoor,0,1\n" * 20
TWO = {"label_column": ["bug", "bill"]}
BY_AUTHOR = "text,label,author\n" + "".join(f"text {n},{'ab'[n % 2]},author {n // 4}\n" for n in range(80))
LABELS = [
    rows("a separator that is in no label", r"data.label_separator: found '\|', which no label of rows.csv contains; "
         "there is 'a;b' and 'b'", SEVERAL, label_separator="|"),
    rows("a separator with null as a label", r"missing label \(1\): rows.jsonl line 21",
         '{"text": "x", "label": "a|b"}\n' * 20 + '{"text": "x", "label": null}', "jsonl", label_separator="|"),
    rows("a separator between lists", r"label is a list already, so data.label_separator must be null \(41\)",
         listed('["a"]'), "jsonl", label_separator="|"),
    rows("a label among lists of labels", r"label is no list, unlike the labels before \(1\): rows.jsonl line 41",
         listed('"a"'), "jsonl"),
    rows("a list in a list of labels", r"label is neither text nor a number \(1\): rows.jsonl line 41",
         listed('[["a"]]'), "jsonl"),
    rows("a label of two encodings in a list", r"text is not utf-8 \(1\)", listed('["\\ud83d"]'), "jsonl"),
    rows("a label with the sign between labels", r"data.label_names: the label b\|c must have another name, because",
         listed('["b|c"]'), "jsonl"),
    rows("a label with the name of no label", r"data.label_names: give the label '\(none\)' another name",
         listed('["(none)"]'), "jsonl"),
    rows("a label with an empty name", "data.label_names: a name is empty, which would mean no label", GOOD,
         label_names={"a": " ", "b": "B"}),
    rows("lists of one label", r"rows.jsonl: the data has one label \(a\) in 9 rows; need two",
         '{"text": "x", "label": ["a"]}\n' * 9, "jsonl"),
    rows("a column of labels that is missing", "data.label_column: .*rows.csv has no column 'ask'; it has text, bug",
         SWITCHED, label_column=["bug", "ask"]),
    rows("a column of labels with a 2", r"column bill is neither 0 nor 1 \(1\): rows.csv row 41 \(line 42\)",
         SWITCHED + "x,0,2\n", **TWO),
    rows("a column of labels without a 1", "data.label_column: no row of train has the label bill, so",
         SWITCHED.replace("0,1", "0,0"), **TWO),
    rows("an order with an unknown label", "data.label_order: lacks b and has good, which no row of train has; it must "
         "hold all labels, which are a, b", GOOD, label_order=["a", "good"]),
    rows("an order of lists", "data.label_order: found .*; labels are lists, which have no order", listed('["a"]'),
         "jsonl", label_order=["a", "b"]),
    rows("a column of groups that is missing", "data.group_column: .*rows.csv has no column 'author'", GOOD,
         group_column="author"),
    rows("a group that is empty", r"missing group \(1\): rows.csv row 81 \(line 82\)", BY_AUTHOR + "x,a,\n",
         group_column="author"),
    rows("groups that cannot be split", "data.group_column: found 'label'; a split of whole groups with 0.1 of the",
         GOOD, group_column="label"),
    rows("one group", "data.group_column: found 'author'; 40 rows are all of one group, so they cannot be split",
         "text,label,author\n" + "fine,a,x\npoor,b,x\n" * 20, group_column="author"),
    splits("a group in two splits", r"rows: splits share groups(?s:.*)train and test \(1\): author 3 in train.csv "
           r"row 13 .line 14. = author 3 in test.csv row 1 ", BY_AUTHOR,
           "text,label,author\nx,a,author 3\ny,b,other\n", group_column="author", on_leak="error"),
    splits("a slice that test lacks", "data.slice_columns: .*test.csv has no column 'author'; it has text, label",
           BY_AUTHOR, GOOD, slice_columns=["author"]),
    rows("a slice that is an object", r"slice is neither text nor a number \(1\): rows.jsonl line 1",
         '{"text": "x", "label": "a", "channel": {}}', "jsonl", slice_columns=["channel"]),
]  # fmt: skip


# params.yaml


def params(name: str, message: str, content: str | bytes) -> Case:
    return Case(name, "preprocess", f"params.yaml: {message}", write("params.yaml", content))


def key(name: str, message: str, **values: Any) -> Case:
    changes = {key.replace("__", "."): value for key, value in values.items()}
    return Case(name, "preprocess", f"params.yaml: 1 error\n  {message}", params=changes)


LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
PARAMS = [
    key("a param that is unknown", "train.epochs: unknown key; known: freeze_layers", train__epochs=3),
    key("a param of another type", "preprocess.max_length: found '128'; allowed: a whole number",
        preprocess__max_length="128"),
    key("a param that is no number", "train.learning_rate: found nan; allowed", train__learning_rate=float("nan")),
    key("a param that is infinite", "cache.max_size_gb: found inf; allowed", cache__max_size_gb=float("inf")),
    key("a param that is huge", "train.logging_steps: found 9{30}; allowed: a whole number ≥ 1, at most 2147483647",
        train__logging_steps=int("9" * 30)),
    key("a param that controls terminals", r"model.name: .*\\x1b", model__name=["\x1b[2J"]),
    key("a goal that is none", "train.threshold: found 'precision > 0.9'; allowed: max f1, precision >= P or recall",
        train__threshold="precision > 0.9"),
    params("params with tabs", "cannot be read as YAML: .*cannot start any token", "train:\n\tseed: 1\n"),
    params("params with a key twice", "cannot be read as YAML: the key 'seed' is given twice.*line 2",
           "seed: 1\nseed: 2\n"),
    params("params that are a bomb", r"cannot be read as YAML: aliases \(\*\) are not allowed.*line 2", LAUGHS),
    params("params of deep nesting", "cannot be read as YAML", "[" * 10_000),
    params("params that are a list", "found a list; expected sections of keys", "- seed\n"),
    params("params that are empty", "found an empty file", ""),
    params("params that make objects", "cannot be read as YAML: could not determine a constructor",
           "a: !!python/name:os.system"),
    params("params that are not UTF-8", "cannot be read as YAML: 'utf-8' codec", b"seed: caf\xe9"),
    Case("no params", "preprocess", "params.yaml: missing", lambda workspace: (workspace / "params.yaml").unlink()),
]  # fmt: skip


# Models, and what earlier stages wrote


def change_weights(path: Path) -> None:
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    save_file(weights | {name: weights[name][:, :16].copy()}, path, {"format": "pt"})


def start_with(name: str, content: bytes) -> Callable[[Path], Any]:
    def change(workspace: Path) -> None:
        data = (workspace / name).read_bytes()
        (workspace / name).write_bytes(content + data[len(content) :])

    return change


def only_pickle(workspace: Path) -> None:
    (workspace / "tiny/model.safetensors").rename(workspace / "tiny/pytorch_model.bin")


MODEL, AGAIN = "model.name: .*", "run `dvc repro"
MODELS = [
    Case("a model of pickled weights", "base_model", f"{MODEL}has no model.safetensors; other formats", only_pickle),
    Case("truncated weights", "base_model", f"{MODEL}model.safetensors .* is broken",
         truncate("tiny/model.safetensors", 9)),
    Case("weights with an endless header", "base_model", f"{MODEL}model.safetensors .* is broken",
         start_with("tiny/model.safetensors", struct.pack("<Q", 1 << 40))),
    Case("weights with junk as header", "base_model", f"{MODEL}model.safetensors .* is broken",
         start_with("tiny/model.safetensors", struct.pack("<Q", 64) + b"x" * 64)),
    Case("a config of no type", "base_model", f"{MODEL}is not a JSON object with a model_type",
         write("tiny/config.json", "{}")),
    Case("a truncated config", "base_model", f"{MODEL}is not a JSON object with a model_type",
         truncate("tiny/config.json", 9)),
    Case("a truncated tokenizer", "preprocess", f"{MODEL}no tokenizer that can be loaded",
         truncate("models/base/tokenizer.json", 9)),
    Case("a truncated manifest", "preprocess", f"dataset.json: not valid JSON .*{AGAIN}",
         truncate("data/raw/dataset.json", 9)),
    Case("a manifest of nothing", "preprocess", f"dataset.json: has no columns, labels, .*{AGAIN}",
         write("data/raw/dataset.json", "[]")),
    Case("truncated rows", "preprocess", f"train.parquet: its SHA-256 is .*{AGAIN} download",
         truncate("data/raw/train.parquet", 9)),
    Case("rows that are missing", "preprocess", f"test.parquet: missing; .*{AGAIN}",
         lambda workspace: (workspace / "data/raw/test.parquet").unlink()),
    Case("truncated tokens", "train", f"arrow: has changed since it was written; {AGAIN}",
         truncate("data/tokenized/train/*.arrow", 8)),
    Case("tokens without columns", "train", f"tokenized: cannot be read .*{AGAIN}",
         write("data/tokenized/train/dataset_info.json", "[]")),
    Case("truncated statistics", "train", f"statistics.json: not valid JSON .*{AGAIN}",
         truncate("data/statistics.json", 9)),
    Case("statistics of nothing", "train", f"statistics.json: has no raw_sha256, .*{AGAIN}",
         write("data/statistics.json", "{}")),
    Case("a truncated cached tokenizer", "train", "no tokenizer that can be loaded",
         truncate("data/tokenized/tokenizer/tokenizer.json", 9)),
    Case("a base of other shapes", "train", r"do not fit together: .*word_emb.*weight is \[600, 16\], not \[600, 32\]",
         lambda workspace: change_weights(workspace / "models/base/model.safetensors")),
    Case("a base of other sizes", "train", "do not fit together: .* is missing .and 15 more",
         replace("models/base/config.json", '"num_hidden_layers": 2', '"num_hidden_layers": 3')),
    Case("a base of an unknown type", "train", "models/base: cannot be loaded as a text classifier",
         replace("models/base/config.json", '"model_type": "bert"', '"model_type": "none"')),
    Case("a base of impossible sizes", "train", "models/base: cannot be loaded as a text classifier",
         replace("models/base/config.json", '"num_attention_heads": 2', '"num_attention_heads": 5')),
    Case("a learning rate that breaks the model", "train", r"train.learning_rate: found 1e\+09; .* is not a number",
         params={"train.learning_rate": 1e9, "train.eval_steps": 0.999}),
    Case("a goal that no threshold reaches", "train",
         "train.threshold: found 'recall >= 1'; no threshold reaches it on validation, where the best recall is 0.*"
         "Use a lower number", params={"train.threshold": "recall >= 1.0", "train.calibration": "temperature"}),
    Case("a truncated classifier", "evaluate", "models/classifier: cannot be loaded",
         truncate("models/classifier/model.safetensors", 9)),
    Case("a classifier of other shapes", "evaluate", "models/classifier: weights and config.json do not fit together",
         lambda workspace: change_weights(workspace / "models/classifier/model.safetensors")),
    Case("a run without an id", "evaluate", f"mlflow_run.json: has no run; .*{AGAIN}",
         write("models/mlflow_run.json", "{}")),
    Case("truncated curves", "evaluate", f"validation.csv: cannot be read .*{AGAIN} train",
         truncate("plots/validation.csv", 30)),
    Case("truncated test rows", "evaluate", f"test.parquet: cannot be read .*{AGAIN}",
         truncate("data/raw/test.parquet", 9)),
]  # fmt: skip


# Disks


FULL = r"cannot be written \(File too large\)"
DISKS = [
    Case("a disk too small for rows", "download", f"data/raw: {FULL}", limit=20_000),
    Case("a disk too small for a download", "download", f".cache/downloads/.*-complete.csv.part: {FULL}",
         params={"data.source": "csv", "data.path": "SERVER/complete.csv"}, limit=100),
    Case("a disk too small for a model", "base_model", r"models/.*base.* \(File too large\)", limit=20_000),
    Case("a disk too small for tokens", "preprocess", f"data/tokenized: {FULL}", limit=2_000),
    Case("a disk too small for a classifier", "train", rf"/checkpoint-\d+: {FULL}", limit=60_000),
    Case("a disk too small for an optimizer", "train", r"/checkpoint-\d+: cannot be written \(is the disk full",
         limit=250_000),
    Case("a disk too small for reports", "evaluate", f"plots/.*png: {FULL}", limit=10_000),
    Case("a file where a folder has to be", "download", "data.*: cannot be read or written .(File exists|Not a dir)",
         lambda workspace: ((workspace / "data").rename(workspace / "moved"), (workspace / "data").write_text(""))),
]  # fmt: skip

CASES = [*ARCHIVES, *ROWS, *LABELS, *PARAMS, *MODELS, *DISKS]
