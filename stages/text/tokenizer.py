"""A model's tokenizer: loaded or trained, and configured by the section `preprocess` of params.yaml."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.errors import UserError
from stages.core.param_sections import Preprocess
from stages.model.folder import has_tokenizer, read_max_length

if TYPE_CHECKING:
    from tokenizers import Encoding
    from tokenizers.normalizers import Normalizer
    from tokenizers.pre_tokenizers import PreTokenizer
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(base: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model folder; UserError when there is none that the library `tokenizers` can run."""
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
    """Train a lower-casing WordPiece tokenizer of at most `vocab_size` tokens, with BERT's special tokens.

    `texts()` is iterated twice. Chinese, Japanese and Korean ideographs are words of their own, accents are kept, and
    every letter that occurs has a token: with many letters the vocabulary is larger than `vocab_size`.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    # The trainer numbers "##a", "##b", ... in the random order of its hash table, and decides ties by these numbers;
    # given as special tokens they have fixed ones.
    first = [*special.values(), *make_letter_tokens(texts(), normalizer, pre_tokenizer)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, min_frequency=2, special_tokens=first, show_progress=False
    )
    trained = Tokenizer(models.WordPiece())
    trained.normalizer, trained.pre_tokenizer = normalizer, pre_tokenizer
    trained.train_from_iterator(texts(), trainer)
    vocabulary = trained.get_vocab()
    # A new tokenizer, in which those tokens are a part of the vocabulary and not special any more.
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **special)


def make_letter_tokens(texts: Iterable[str], normalizer: "Normalizer", pre_tokenizer: "PreTokenizer") -> list[str]:
    """`##a` for each letter of the texts that can continue a word, sorted; ideographs and punctuation cannot."""
    letters: set[str] = set()
    for text in texts:
        letters.update(normalizer.normalize_str(text))

    def is_inside_words(letter: str) -> bool:
        return len(pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(f"a{letter}a"))) == 1

    return [f"##{letter}" for letter in sorted(letters) if is_inside_words(letter)]


def configure(tokenizer: "PreTrainedTokenizerBase", base: Path, preprocess: Preprocess, pairs: bool) -> None:
    """Write into the tokenizer's config how texts are cleaned, truncated and read in windows, in place.

    The config is saved with the classifier, so that `predict` and the served model treat texts in the same way.
    UserError when the model reads fewer tokens than params ask for, or when windows are impossible for the data or the
    lengths.
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
    tokenizer.model_max_length = wanted
    tokenizer.truncation_side, tokenizer.padding_side = preprocess.truncation_side, "right"
    # What is not in init_kwargs is not saved; Transformers then reads the sides from tokenizer.json, or takes "right".
    tokenizer.init_kwargs |= {
        "truncation_side": preprocess.truncation_side,
        "padding_side": "right",  # of `pad_batch`, with which the model is trained
        "strip_html": preprocess.strip_html,
        "text_pairs": pairs,
        "window_stride": stride,
    }
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()


def has_windows(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether a text that is too long for the model is read in windows and not truncated."""
    return tokenizer.init_kwargs.get("window_stride") is not None


def enable_truncation(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Let the backend truncate texts as the tokenizer's config says; an encoding's `overflowing` holds the rest.

    With windows, the rest are the further windows of a text; each repeats `window_stride` tokens of the one beside it.
    """
    stride, side = tokenizer.init_kwargs.get("window_stride") or 0, tokenizer.truncation_side
    tokenizer.backend_tokenizer.enable_truncation(tokenizer.model_max_length, stride=stride, direction=side)


def decodes_to_text(tokenizer: "PreTrainedTokenizerBase", encoding: "Encoding", text: str | tuple[str, str]) -> bool:
    """Whether the tokens decode to the text, or to its beginning (or end) where it was truncated.

    Compared is the text as the tokenizer normalizes it (lower case, for example), without white space, which decoders
    set in another way. A row with unknown tokens cannot be decoded and counts as good (their share is in the
    statistics), as does a truncated pair, in which the ends of two texts are missing. Truncation may end a byte-level
    token in the middle of a letter, which decodes to U+FFFD.
    """
    ids = encoding.ids
    if tokenizer.unk_token_id in ids or (isinstance(text, tuple) and encoding.overflowing):
        return True
    expected = text if isinstance(text, str) else " ".join(text)
    normalizer = tokenizer.backend_tokenizer.normalizer
    expected = normalizer.normalize_str(expected) if normalizer else expected
    decoded = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert isinstance(decoded, str)  # a list is returned for several rows only
    remove_spaces = re.compile(r"[\s▁]+").sub  # ▁ is how SentencePiece writes a space
    expected, decoded = remove_spaces("", expected), remove_spaces("", decoded)
    if tokenizer.truncation_side == "left":
        return expected.endswith(decoded.lstrip("#\ufffd"))  # "##" of WordPiece: the first token may be inside a word
    return expected.startswith(decoded.rstrip("\ufffd"))
