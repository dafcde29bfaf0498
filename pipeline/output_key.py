"""Where an output lies in the sink: a key that follows from the source key alone, a different one for each.

    a.jpg                  a.jpg.png          (a.png becomes a.png.png: no two photographs share an output)
    x/../a.jpg             x/%2E%2E/a.jpg.png
    s3://bucket/x/a.jpg    s3:/%2Fbucket/x/a.jpg.png
    _mattemill/a.jpg       %5Fmattemill/a.jpg.png

The suffix of the format taken off, `urllib.parse.unquote(output, errors="surrogatepass")` gives the source key back,
so that the map is injective over all keys. The exception are over-long names, which end in `~` and a SHA-256. An
absolute key of a manifest is a key as any other, its scheme included: an S3 key may itself begin with 's3://', and what
was cut off it would be another photograph's key.

An output key has at most 700 bytes: below a sink's prefix of up to 324 bytes, its last slash counted, every output
stays within the 1,024 that S3 allows.

For systems that tell upper from lower case in names (S3, Linux): 'A.jpg' and 'a.jpg' are two photographs.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

SUFFIXES = {"png": ".png", "webp": ".webp"}

_LONGEST_SEGMENT = 200  # bytes; file systems allow 255, less the suffix and room for a prefix
_LONGEST_KEY = 700  # bytes; S3 allows 1,024, which leaves 324 for the sink's prefix with its slash
_HASH_MARK = "~"  # always encoded in what comes from a source key

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f%\\~\ud800-\udfff]")
_EDGES = re.compile(r"^[ .]+|[ .]+$")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def output_key(key: str, format: str) -> str:
    """The key of the output below the sink. key: of the photograph in its source. format: 'png' or 'webp'."""
    suffix = SUFFIXES[format]
    if not key:
        raise ValueError("a photograph's key is never empty")
    segments = _segments(key)
    shortened = [_shortened(segment) for segment in segments]
    result = "/".join(shortened) + suffix
    if len(result.encode()) > _LONGEST_KEY:
        # A segment that is only a hash comes from nowhere else: `_shortened` keeps some of the name before it.
        head = _cut("/".join(shortened[:-1]), _LONGEST_KEY - 80).rpartition("/")[0]
        result = f"{head}{'/' if head else ''}{_HASH_MARK}{_sha256(key)}{suffix}"
    return result


def _segments(key: str) -> list[str]:
    """The encoded path segments of a key: none is empty, '.' or '..', none is taken by something else.

    A slash beside an empty segment is encoded and stays with its neighbour ('a//b' is 'a', '%2Fb').
    """
    done: list[str] = []
    slashes = ""
    parts = key.split("/")
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part or last:
            done.append(slashes + _encoded(part, last))
            slashes = ""
        else:
            slashes += "%2F"
    if len(done) > 1 and not parts[-1]:  # 'a/': no empty name before the suffix
        tail = done.pop()
        done[-1] += "%2F" + tail
    if done[0].startswith("_mattemill"):
        done[0] = "%5F" + done[0][1:]
    # Not in composed form, or joined to something by the encoding ('%7E' and a tilde above): nothing but ASCII.
    return [s if unicodedata.is_normalized("NFC", s) else _NOT_ASCII.sub(_percent, s) for s in done]


def _encoded(part: str, last: bool) -> str:
    part = _EDGES.sub(_percent, _UNSAFE.sub(_percent, part))
    if not last and part.lower().endswith((".png", ".webp")):
        # No folder may have the name of an output: in a local sink they are in one place.
        dot = part.rindex(".")
        part = f"{part[:dot]}%2E{part[dot + 1 :]}"
    return part


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


def _shortened(segment: str) -> str:
    if len(segment.encode()) <= _LONGEST_SEGMENT:
        return segment
    return f"{_cut(segment, _LONGEST_SEGMENT - 65)}{_HASH_MARK}{_sha256(segment)}"


def _cut(text: str, length: int) -> str:
    """At most so many bytes of the text, no character and no percent code cut in two."""
    kept = text.encode()[:length].decode("utf-8", "ignore")
    return re.sub(r"%.?$", "", kept)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
