"""Keys as Parquet can hold them: text that is UTF-8, one for each key, and the way back."""

from __future__ import annotations

from urllib.parse import quote_from_bytes, unquote_to_bytes

PREFIX = "bytes:"


def stored_key(key: str) -> str:
    """The key as it stands in the outcome rows: the key itself for nearly all.

    A file name that is not UTF-8 reaches us with surrogates in it (PEP 383), which Parquet refuses. Such a key is
    stored as 'bytes:' and its percent-encoded bytes; so is a key that begins with 'bytes:' itself, so that two keys
    are never stored as one.
    """
    if not key.startswith(PREFIX) and _is_utf8(key):
        return key
    return PREFIX + quote_from_bytes(key.encode("utf-8", "surrogateescape"), safe="/")


def key_of(stored: str) -> str:
    """The inverse of `stored_key`."""
    if not stored.startswith(PREFIX):
        return stored
    return unquote_to_bytes(stored.removeprefix(PREFIX)).decode("utf-8", "surrogateescape")


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
