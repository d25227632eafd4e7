"""How much one request to a served model may ask for."""

from collections.abc import Sequence
from typing import Any

from stages.core.errors import UserError

# Keys of the served model's config, with their defaults. A text of a million characters takes about a second.
REQUEST_LIMITS = {"max_texts": 1000, "max_characters": 1_000_000}


def check_size(texts: Sequence[Any], max_texts: int, max_characters: int) -> None:
    """UserError when a request has more texts, or more characters in all of them, than it may."""
    if len(texts) > max_texts:
        raise UserError(f"found {len(texts):,} texts; one request may have {max_texts:,}: send them in several.")
    parts = [part for text in texts for part in (text if isinstance(text, tuple) else (text,))]
    characters = sum(len(part) for part in parts if isinstance(part, str))
    if characters > max_characters:
        raise UserError(
            f"found {characters:,} characters; one request may have {max_characters:,}: shorten texts that the model "
            "truncates, or send the texts in several requests."
        )
