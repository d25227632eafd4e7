"""The section `data` of `params.yaml`: where labelled texts are, how they are read, and how splits are made of them."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from stages.core.param_types import (
    LARGEST,
    Column,
    ColumnOrNull,
    CountOrNull,
    Fraction,
    NameOrNull,
    Section,
    Switch,
    one_of,
)  # fmt: skip

Source = Literal["demo", "folder", "csv", "json", "parquet", "hub"]
Split = Literal["train", "validation", "test"]
OnBadRows = Literal["error", "drop"]
OnLeak = Literal["warn", "drop_from_train", "error"]
OnMissingClass = Literal["warn", "error"]

TABLES = {"csv", "json", "parquet"}
MOST_SLICE_COLUMNS = 20
# The sources that each key is for.
SOURCES_WITH = {
    "path": {*TABLES, "folder", "hub"},
    "sha256": {*TABLES, "folder"},
    "config": {"hub"},
    "revision": {"hub"},
    "text_pair_column": {*TABLES, "hub"},
    "label_separator": {*TABLES, "hub"},
    "group_column": {*TABLES, "hub"},
    "slice_columns": {*TABLES, "hub"},
}
# What data.path means, for each source that has one.
SOURCE_PATHS = {
    "folder": "the path or URL of a folder or archive",
    "csv": "the path or URL of a file, or a folder of one file a split",
    "json": "the path or URL of a file, or a folder of one file a split",
    "parquet": "the path or URL of a file, or a folder of one file a split",
    "hub": "the id of a data set of the Hugging Face hub, such as stanfordnlp/imdb",
}


class Data(Section):
    source: Annotated[Source, one_of(Source)] = "demo"
    path: Annotated[str | None, Field(min_length=1, description="a path, URL or hub id; null where it has none")] = None
    config: NameOrNull = None
    revision: NameOrNull = None
    sha256: Annotated[
        str | None, Field(pattern=r"^[0-9a-fA-F]{64}$", description="64 hex digits in quotes, or null")
    ] = None
    max_size_gb: Annotated[float, Field(gt=0, le=LARGEST, description="a number > 0")] = 10
    splits: Annotated[
        dict[Split, str] | None,
        Field(min_length=1, description="a mapping {train: name, validation: name, test: name}, or null"),
    ] = None
    text_column: Column = "text"
    text_pair_column: ColumnOrNull = None
    label_column: Annotated[
        Column | Annotated[list[Column], Field(min_length=2)],
        Field(description="a column's name or number, or a list of two or more columns of 0 and 1"),
    ] = "label"
    label_separator: Annotated[
        str | None, Field(min_length=1, description="one character or more, \\t for a tab, or null")
    ] = None
    label_names: Annotated[
        dict[str | int | bool, str] | None, Field(min_length=2, description="a mapping {value: name, ...}, or null")
    ] = None
    label_order: Annotated[
        list[str | int | bool | float] | None,
        Field(min_length=2, description="a list of all labels, the lowest first, or null"),
    ] = None
    group_column: ColumnOrNull = None
    slice_columns: Annotated[
        list[Column] | None,
        Field(min_length=1, max_length=MOST_SLICE_COLUMNS, description="a list of 1 to 20 columns, or null"),
    ] = None
    encoding: Annotated[str, Field(description="a text encoding that Python knows, such as utf-8 or gb18030")] = "utf-8"
    header: Switch = True
    delimiter: Annotated[str, Field(pattern=r"^([^\r\n]|\\t)$", description="one character, or \\t for a tab")] = ","
    quotechar: Annotated[str | None, Field(min_length=1, max_length=1, description="one character, or null")] = '"'
    on_bad_rows: Annotated[OnBadRows, one_of(OnBadRows)] = "error"
    on_leak: Annotated[OnLeak, one_of(OnLeak)] = "warn"
    on_missing_class: Annotated[OnMissingClass, one_of(OnMissingClass)] = "warn"
    max_train_samples: CountOrNull = None
    max_test_samples: CountOrNull = None
    validation_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.1

    @field_validator(*SOURCES_WITH)
    @classmethod
    def check_source(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        key = f"data.{name}"
        source = info.data.get("source")
        if key == "data.path" and value is None and source in SOURCE_PATHS:
            raise ValueError(f"{key}: missing; data.source '{source}' needs {SOURCE_PATHS[source]}")
        if value is not None and source and source not in SOURCES_WITH[name]:
            raise ValueError(f"{key}: found {value!r}; data.source '{source}' has none, so null is allowed")
        return value

    @field_validator("label_column", "label_order", "slice_columns")
    @classmethod
    def check_list(cls, value: Any, info: ValidationInfo) -> Any:
        """Nothing is twice in a list; 1 and "1" are the same, because columns and labels become names."""
        names = [name_item(item) for item in value] if isinstance(value, list) else []
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"data.{info.field_name}: found {', '.join(map(repr, repeated))} twice")
        return value

    @field_validator("label_column")
    @classmethod
    def check_label_columns(cls, value: Any, info: ValidationInfo) -> Any:
        source = info.data.get("source")
        if isinstance(value, list) and source and source not in {*TABLES, "hub"}:
            raise ValueError(f"data.label_column: found {value!r}; data.source '{source}' has no columns of labels")
        return value

    @field_validator("label_separator")
    @classmethod
    def check_separator(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and isinstance(info.data.get("label_column"), list):
            raise ValueError(
                f"data.label_separator: found {value!r}; data.label_column is a list of columns, which are 0 or 1, so "
                "null is allowed"
            )
        return "\t" if value == "\\t" else value

    @field_validator("label_names")
    @classmethod
    def check_names(cls, value: dict[Any, str] | None, info: ValidationInfo) -> dict[Any, str] | None:
        columns = info.data.get("label_column")
        named = {str(column).strip() for column in value or {}}
        nameless = [c for c in columns if str(c).strip() not in named] if value and isinstance(columns, list) else []
        if nameless:
            raise ValueError(f"data.label_names: has no name for {nameless[0]!r}, a column of data.label_column")
        return value

    @field_validator("label_order")
    @classmethod
    def check_order(cls, value: list[Any] | None, info: ValidationInfo) -> list[Any] | None:
        if value and (info.data.get("label_separator") or isinstance(info.data.get("label_column"), list)):
            raise ValueError(
                f"data.label_order: found {value!r}; rows may have several labels, which have no order, so null is "
                "allowed"
            )
        return value

    @field_validator("header")
    @classmethod
    def check_named_columns(cls, value: bool, info: ValidationInfo) -> bool:
        """With a header, columns that name labels or slices are given by their names."""
        for key in ("label_column", "slice_columns") if value else ():
            columns = info.data.get(key)
            numbers = [column for column in columns if isinstance(column, int)] if isinstance(columns, list) else []
            if numbers:
                raise ValueError(
                    f"data.{key}: found {numbers[0]}; with data.header true give the columns' names, which become the "
                    "names of labels or slices"
                )
        return value

    @field_validator("encoding")
    @classmethod
    def check_encoding(cls, value: str) -> str:
        try:
            "".encode(value)
        except (LookupError, UnicodeError):
            raise ValueError(f"data.encoding: found {value!r}; allowed: a text encoding that Python knows") from None
        return value

    @field_validator("delimiter")
    @classmethod
    def unescape_tab(cls, value: str) -> str:
        return "\t" if value == "\\t" else value

    @field_validator("quotechar")
    @classmethod
    def check_quotechar(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and value in (info.data.get("delimiter"), "\r", "\n"):
            raise ValueError(f"data.quotechar: found {value!r}; must differ from data.delimiter and line ends")
        return value


def name_item(item: Any) -> str:
    """A column or label of a list as text: 1, 1.0 and "1" are the same, and true and "true"."""
    if isinstance(item, float) and item.is_integer():
        item = int(item)
    return str(item).lower() if isinstance(item, bool) else str(item).strip()
