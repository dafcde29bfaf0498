"""Where the keys of a listing will probably be some pages further on: a guess, which only has to be a valid key."""

from __future__ import annotations

import string
from collections.abc import Sequence

_CLASSES = tuple(
    frozenset(text) for text in (string.digits, "0123456789abcdef", string.ascii_lowercase, string.ascii_uppercase)
)
_DEPTH = 12  # characters after those that the whole page has in common


def key_ahead(keys: Sequence[str], pages: int) -> str | None:
    """A key about so many pages after a page; None when the page does not tell.

    keys: some keys of the page in order, its first and last among them. Keys are read as numbers whose digit at each
    place is one of the characters seen there, completed to 0-9, 0-9a-f, a-z or A-Z; the distance from first to last
    is gone as often again. The result is always greater than the last key.
    """
    if len(keys) < 2:
        return None
    first, last = keys[0], keys[-1]
    common = 0
    while common < min(len(first), len(last)) and first[common] == last[common]:
        common += 1
    alphabets = [_alphabet({key[at : at + 1] for key in keys}) for at in range(common + _DEPTH)]
    start, end, size = 0, 0, 1
    for at, alphabet in enumerate(alphabets):
        start = start * len(alphabet) + alphabet.index(first[at : at + 1])
        end = end * len(alphabet) + alphabet.index(last[at : at + 1])
        size *= len(alphabet)
    value = end + pages * (end - start)
    if not end < value < size:
        return None
    characters = []
    for alphabet in reversed(alphabets):
        value, digit = divmod(value, len(alphabet))
        characters.append(alphabet[digit])
    guess = ""
    for character in reversed(characters):
        if not character:
            break
        guess += character
    return guess if guess > last else None


def _alphabet(seen: set[str]) -> list[str]:
    """In order; '' stands for the end of a key."""
    characters = seen - {""}
    for known in _CLASSES:
        if characters and characters <= known:
            characters = set(known)
            break
    return ([""] if "" in seen else []) + sorted(characters)
