"""Types of the arguments of commands; argparse prints their messages."""

import argparse
import math


def count(text: str) -> int:
    """A whole number ≥ 1."""
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}; allowed: a whole number ≥ 1")
    return int(text)


def minutes(text: str) -> float:
    """A number > 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0:
        raise argparse.ArgumentTypeError(f"found {text!r}; allowed: a number of minutes > 0")
    return value
