from argparse import ArgumentTypeError

import pytest

from stages.core.arguments import count, megabytes, minutes, port, probability


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [(count, "1", 1), (port, "0", 0), (port, "65535", 65535), (minutes, "0.5", 0.5), (megabytes, "1.5", 1_500_000),
     (megabytes, "1e-9", 1), (probability, "0", 0), (probability, "1.0", 1)],
)  # fmt: skip
def test_values_that_are_allowed(read, text, value):
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "texts", "allowed"),
    [(count, "0 -1 1.5 ٣ x", "a whole number ≥ 1"), (port, "-1 65536 1.5", "a whole number from 0 to 65535"),
     (minutes, "0 -1 nan x", "a number of minutes > 0"), (megabytes, "0 -1 nan inf x", "a number of megabytes > 0"),
     (probability, "-0.1 1.1 nan x", "a number from 0 to 1")],
)  # fmt: skip
def test_other_values_are_errors_that_say_what_is_allowed(read, texts, allowed):
    for text in texts.split():
        with pytest.raises(ArgumentTypeError, match=f"^found '{text}'; allowed: {allowed}$"):
            read(text)
