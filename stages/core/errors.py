"""What ends a stage with one message: faults that the user can mend, what the machine refuses, and a signal."""

import errno
import os
import re

LONGEST_LINE = 600  # characters of a line of a message; more comes from input that was made to be long
# What says more about disk, memory and permissions than about our code.
REFUSALS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EMFILE, errno.ENFILE),
}
# Control characters, lone surrogates, line separators, and what turns the direction of writing.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")
NO_MEMORY = re.compile(r"out of memory|(can't|cannot|not enough|failed to) allocate|not enough memory", re.IGNORECASE)


class UserError(Exception):
    """A fault in params, data or environment, told in one message without a traceback.

    The message names the file or key, what was found, and what is allowed or what to do.
    """


class Terminated(KeyboardInterrupt):
    """SIGTERM has come: what Ctrl-C is for people, from a machine."""


def printable(text: str) -> str:
    """The text as a terminal may show it: without what could drive it, long lines shortened in the middle.

    Whoever makes a file chooses the names in it; they are parts of messages.
    """
    lines, half = map(escape, text.split("\n")), LONGEST_LINE // 2
    return "\n".join(line if len(line) <= 2 * half else f"{line[:half]} ... {line[-half:]}" for line in lines)


def one_line(text: str, longest: int = 200) -> str:
    """The text, such as names from a file, as a part of a line: line ends are escaped as well, and too much is cut."""
    escaped = escape(text[: longest + 1])
    return escaped if len(escaped) <= longest else f"{escaped[:longest]}..."


def escape(text: str) -> str:
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def refusal(error: BaseException) -> str | None:
    """What the machine refused, and where: a full disk, a missing permission, too little memory; None for all else.

    The number is in an `OSError`, also in those of pyarrow; safetensors writes it into its text, and torch, which names
    its own source file, does not know it. `naming` notes what was being written, which these errors do not know.
    """
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and NO_MEMORY.search(str(error))):
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        return (
            f"not enough memory{f' ({reason})' if reason else ''}. Less is needed with lower "
            "train.per_device_train_batch_size, per_device_eval_batch_size or preprocess.max_length."
        )
    match = re.search(r"\(os error (\d+)\)", str(error))
    number = int(match[1]) if match else getattr(error, "errno", None)
    if number in REFUSALS:
        reason = os.strerror(number)
    elif "inline_container.cc" in str(error):
        reason = "is the disk full?"
    else:
        return None
    name = getattr(error, "filename2", None) or getattr(error, "filename", None)
    notes = getattr(error, "__notes__", ["a file cannot be written"])
    where = f"{name}: cannot be read or written" if name else notes[0]
    return f"{where} ({reason})."
