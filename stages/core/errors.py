"""What ends a stage with one message: errors that the user can correct, those of the operating system, and a signal."""

import errno
import os
import re
from collections.abc import Sequence

from stages.core.secrets import redact

MOST_NAMES = 5  # that a message lists
LONGEST_LINE = 600  # characters of a line of a message; a longer one repeats input that was made to be long
# Errors of disk, memory and permissions, which the user can correct; others are likely to be defects of this code.
SYSTEM_ERRORS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EMFILE, errno.ENFILE),
    *(errno.ELOOP, errno.ENXIO),
}
# Control characters, lone surrogates, line separators, and characters that change the direction of writing.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")
NO_MEMORY = re.compile(r"out of memory|(can't|cannot|not enough|failed to) allocate|not enough memory", re.IGNORECASE)


class UserError(Exception):
    """An error in params, data or environment, which is reported in one message without a traceback.

    The message names the file or key, what was found, and what is allowed or what to do. Secrets of URLs in it are
    hidden, because messages are shown, logged and stored.
    """

    def __init__(self, message: str):
        super().__init__(redact(message))


class Terminated(KeyboardInterrupt):
    """SIGTERM was received: a request to stop, as Ctrl-C, but from a program."""


def to_printable(text: str) -> str:
    """The text without characters that could control a terminal; long lines are shortened in the middle.

    Names that come from a file are parts of messages, and whoever made the file chose them.
    """
    half = LONGEST_LINE // 2
    lines = map(escape_control, text.split("\n"))
    return "\n".join(line if len(line) <= 2 * half else f"{line[:half]} ... {line[-half:]}" for line in lines)


def to_one_line(text: str, longest: int = 200) -> str:
    """The text as a part of one line: line ends are escaped too, and what is longer than `longest` is left out."""
    escaped = escape_control(text[: longest + 1])
    return escaped if len(escaped) <= longest else f"{escaped[:longest]}..."


def list_names(names: Sequence[str]) -> str:
    """The first names, such as those of labels, as a part of one line."""
    return ", ".join(map(to_one_line, names[:MOST_NAMES])) + ", ..." * (len(names) > MOST_NAMES)


def escape_control(text: str) -> str:
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def describe_system_error(error: BaseException) -> str | None:
    """Which file and why, for a full disk, a missing permission or too little memory; None for all other errors.

    The error number is an attribute of `OSError`, also of pyarrow's; safetensors has it in its text only. torch names
    its own source file instead of a number. Which file was being written is in the note that `note_path` adds.
    """
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and NO_MEMORY.search(str(error))):
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        return (
            f"not enough memory{f' ({reason})' if reason else ''}. Less is needed with lower "
            "train.per_device_train_batch_size, per_device_eval_batch_size or preprocess.max_length."
        )
    match = re.search(r"\(os error (\d+)\)", str(error))
    number = int(match[1]) if match else getattr(error, "errno", None)
    if number in SYSTEM_ERRORS:
        reason = os.strerror(number)
    elif "inline_container.cc" in str(error):  # torch.save
        reason = "is the disk full?"
    else:
        return None
    name = getattr(error, "filename2", None) or getattr(error, "filename", None)
    notes = getattr(error, "__notes__", ["a file cannot be written"])
    what = f"{name}: cannot be read or written" if name else notes[0]
    return f"{what} ({reason})."
