"""Arguments of commands, and their types; argparse prints the messages."""

import math
from argparse import ArgumentParser, ArgumentTypeError


def refuse_arguments(command: str, manual: str) -> None:
    """Allow nothing but --help: a stage that ignored an option would look as if it had used it.

    `manual` is the command's docstring.
    """
    epilog = "It takes no arguments: its settings are those of params.yaml."
    ArgumentParser(prog=f"python -m stages.{command}", description=manual.splitlines()[0], epilog=epilog).parse_args()


def count(text: str) -> int:
    """A whole number ≥ 1."""
    if not is_whole(text) or int(text) < 1:
        raise ArgumentTypeError(f"found {text!r}; allowed: a whole number ≥ 1")
    return int(text)


def port(text: str) -> int:
    """A port of TCP; 0 is one that is free."""
    if not is_whole(text) or int(text) > 65535:
        raise ArgumentTypeError(f"found {text!r}; allowed: a whole number from 0 to 65535")
    return int(text)


def minutes(text: str) -> float:
    """A number > 0."""
    value = read_number(text)
    if not value > 0:
        raise ArgumentTypeError(f"found {text!r}; allowed: a number of minutes > 0")
    return value


def megabytes(text: str) -> int:
    """The bytes of a number > 0 of megabytes, at least one byte."""
    value = read_number(text)
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"found {text!r}; allowed: a number of megabytes > 0")
    return max(1, int(value * 1e6))


def probability(text: str) -> float:
    """A number from 0 to 1."""
    value = read_number(text)
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"found {text!r}; allowed: a number from 0 to 1")
    return value


def is_whole(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def read_number(text: str) -> float:
    """NaN for a text that is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan
