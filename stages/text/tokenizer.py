"""A model's tokenizer: loaded, or trained."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.errors import UserError
from stages.core.param_sections import Preprocess
from stages.model.folder import has_tokenizer, read_max_length

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(base: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model folder; UserError when it has none that `tokenizers` can run."""
    from transformers import AutoTokenizer

    if not has_tokenizer(base):
        raise UserError(f"model.name: {base} has no tokenizer.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(base)
    except Exception as error:  # tokenizers raises nothing more specific
        raise UserError(f"model.name: {base} has no tokenizer that can be loaded: {error}") from None
    if not tokenizer.is_fast:
        raise UserError(f"model.name: {base} has no tokenizer.json; only fast tokenizers are supported.")
    if tokenizer.pad_token_id is None:
        raise UserError(f"model.name: the tokenizer of {base} has no pad token; batches cannot be made with it.")
    return tokenizer


def train_tokenizer(texts: Callable[[], Iterable[str]], vocab_size: int) -> "PreTrainedTokenizerBase":
    """A lower-casing WordPiece tokenizer of at most `vocab_size` tokens, in BERT's form.

    `texts()` is gone through twice. Chinese, Japanese and Korean ideographs are words of their own, accents are kept,
    and no letter that occurs is left out: with many of them the vocabulary is larger than `vocab_size`.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def continues(letter: str) -> bool:
        return len(pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(f"a{letter}a"))) == 1

    def make(model: models.WordPiece) -> Tokenizer:
        tokenizer = Tokenizer(model)
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
        return tokenizer

    letters: set[str] = set()
    for text in texts():
        letters.update(normalizer.normalize_str(text))
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    # The trainer numbers "##a", "##b", ... in the random order of its hash table, and breaks ties by these numbers;
    # given as special tokens they have fixed ones.
    first = [*special.values(), *(f"##{letter}" for letter in sorted(letters) if continues(letter))]
    trained = make(models.WordPiece())
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, min_frequency=2, special_tokens=first, show_progress=False
    )
    trained.train_from_iterator(texts(), trainer)
    tokenizer = make(models.WordPiece(trained.get_vocab(), unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(
        *((token, tokenizer.token_to_id(token)) for token in ("[SEP]", "[CLS]"))
    )
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **special)


def configure(tokenizer: "PreTrainedTokenizerBase", base: Path, preprocess: Preprocess, pairs: bool) -> None:
    """Let the tokenizer's config say, all the way to the served model, how texts are cleaned, cut and read.

    UserError when the model reads fewer tokens than params say, or data or lengths leave no room for windows.
    """
    limit, wanted, stride = read_max_length(base), preprocess.max_length, preprocess.stride
    if limit is not None and wanted > limit:
        raise UserError(f"preprocess.max_length: found {wanted}; this model reads at most {limit} tokens.")
    if stride is not None and pairs:
        raise UserError(f"preprocess.stride: found {stride}; pairs of texts are not read in windows: null is allowed.")
    room = wanted - tokenizer.num_special_tokens_to_add()
    if stride is not None and stride >= room:
        raise UserError(
            f"preprocess.stride: found {stride}; a window holds {room} tokens of a text, so less than that is allowed."
        )
    tokenizer.model_max_length, tokenizer.truncation_side = wanted, preprocess.truncation_side
    tokenizer.init_kwargs |= {"strip_html": preprocess.strip_html, "text_pairs": pairs, "window_stride": stride}
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()


def has_windows(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether a text that is too long is read in windows, not cut."""
    return tokenizer.init_kwargs.get("window_stride") is not None


def enable_truncation(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Let the backend cut texts as the tokenizer's config says; `overflowing` then holds what was cut off.

    With windows those are the further windows of a text, each of which repeats `window_stride` tokens of its neighbor.
    """
    stride, side = tokenizer.init_kwargs.get("window_stride") or 0, tokenizer.truncation_side
    tokenizer.backend_tokenizer.enable_truncation(tokenizer.model_max_length, stride=stride, direction=side)


def decodes_to_text(tokenizer: "PreTrainedTokenizerBase", encoding: "Encoding", text: str | tuple[str, str]) -> bool:
    """Whether the tokens decode to the text, or to its beginning (or end) where it was truncated.

    Compared as the tokenizer sees the text (lower case, say) and without white space, which decoders place anew.
    A row with unknown tokens cannot decode and counts as good (their share is in the statistics), as does a truncated
    pair, which lost the ends of two texts. Truncation may cut a byte-level token in the middle of a letter, which
    decodes to U+FFFD.
    """
    ids = encoding.ids
    if tokenizer.unk_token_id in ids or (isinstance(text, tuple) and encoding.overflowing):
        return True
    expected = text if isinstance(text, str) else " ".join(text)
    normalizer = tokenizer.backend_tokenizer.normalizer
    expected = normalizer.normalize_str(expected) if normalizer else expected
    decoded = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    squeeze = re.compile(r"[\s▁]+").sub  # ▁ is how SentencePiece writes a space
    expected, decoded = squeeze("", expected), squeeze("", decoded)
    if tokenizer.truncation_side == "left":
        return expected.endswith(decoded.lstrip("#\ufffd"))  # "##" of WordPiece: the first token may be inside a word
    return expected.startswith(decoded.rstrip("\ufffd"))
