"""Sentences as vectors: a vocabulary, and a small encoder that is trained from nothing (review Sec. 2.3)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PADDING, UNKNOWN = 0, 1  # the first two tokens of every vocabulary


def words(sentence: str) -> list[str]:
    """Its words in lower case, without punctuation; a hyphen inside a word stays."""
    return re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", sentence.lower())


class Vocabulary:
    """The words of some sentences, in alphabetical order, as tokens from 2 on.

    Any other word becomes the token <unknown>, which an encoder never saw in training, and one warning for each call
    lists these words. Raises ValueError for sentences without any word.
    """

    def __init__(self, sentences: Sequence[str]) -> None:
        self.words = tuple(sorted({word for sentence in sentences for word in words(sentence)}))
        if not self.words:
            raise ValueError("a vocabulary needs sentences with words in them")
        self.tokens = {word: token for token, word in enumerate(self.words, start=2)}

    def __len__(self) -> int:
        return len(self.words) + 2

    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Tokens (n, longest), int64, padded with 0 at the end. ValueError for a sentence without any known word."""
        if isinstance(sentences, str):
            raise ValueError("encode takes a list of sentences; put a single one in brackets")
        split = [words(sentence) for sentence in sentences]
        for sentence, found in zip(sentences, split, strict=True):
            if not any(word in self.tokens for word in found):
                raise ValueError(f"no known word in {sentence!r}; known are: {', '.join(self.words)}")
        if unknown := sorted({word for found in split for word in found if word not in self.tokens}):
            warnings.warn(f"words read as <unknown>: {', '.join(unknown)}", stacklevel=2)
        longest = max(map(len, split), default=0)
        tokens = torch.full((len(split), longest), PADDING)
        for row, found in zip(tokens, split, strict=True):
            row[: len(found)] = torch.tensor([self.tokens.get(word, UNKNOWN) for word in found])
        return tokens


class TextEncoder(nn.Module):
    """Tokens (n, length) of a `Vocabulary` of ``size`` tokens -> vectors (n, outputs) of length 1.

    A gated recurrent unit reads the words in their order; the vector is made from its state after the last word, so
    padding does not count. "spiculated rather than smooth" is therefore another sentence than "smooth rather than
    spiculated", which a bag of words cannot tell apart.
    """

    def __init__(self, size: int, outputs: int, width: int = 48) -> None:
        super().__init__()
        self.embed = nn.Embedding(size, width, padding_idx=PADDING)
        self.read = nn.GRU(width, width, batch_first=True)
        self.dense = nn.Linear(width, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.read(self.embed(tokens))
        last = (tokens != PADDING).sum(1).clamp(min=1) - 1
        return F.normalize(self.dense(states[torch.arange(len(tokens), device=tokens.device), last]), dim=1)
