from __future__ import annotations

import os
import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mattemill.pipeline.output_key import output_key

# Letters that make trouble, so that collisions would be found: separators, dots, suffixes, codes, combining marks.
PIECES = ["a", "A", "e", "/", ".", "..", " ", "%", "%2F", "%2E", "2F", "~", "\\", "\0", "\n", "_mattemill", ".png"]
PIECES += [".webp", ".jpg", "\u00e9", "e\u0301", "\u0301", "\u0307", "\u0303", "\u0338", "\u212b", "\u00c5", "😀"]
PIECES += ["\udce9", "\udcc3"]  # as os.fsdecode gives them
PIECES += ["s3:", "file:", "//", "s3://", "file:///", "s3"]  # an S3 key may begin with what looks like an address
nasty = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)
keys = st.one_of(nasty, st.text(min_size=1, max_size=40), st.text("ab/.% ~_", min_size=1, max_size=12))
long_keys = st.one_of(keys, st.text("aä%/", min_size=150, max_size=1500))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a.jpg", "a.jpg.png"),
        ("a.png", "a.png.png"),
        ("a", "a.png"),
        ("x/../a.jpg", "x/%2E%2E/a.jpg.png"),
        ("./a.jpg", "%2E/a.jpg.png"),
        ("a//b.jpg", "a/%2Fb.jpg.png"),
        ("/a.jpg", "%2Fa.jpg.png"),
        ("a.jpg/", "a.jpg%2F.png"),
        ("a.jpg ", "a.jpg%20.png"),
        (" a.jpg", "%20a.jpg.png"),
        (".hidden", "%2Ehidden.png"),
        ("two words.jpg", "two words.jpg.png"),
        ("50%.jpg", "50%25.jpg.png"),
        ("a\\b.jpg", "a%5Cb.jpg.png"),
        ("line\nbreak", "line%0Abreak.png"),
        ("\u00e9.jpg", "\u00e9.jpg.png"),
        ("e\u0301.jpg", "e%CC%81.jpg.png"),
        ("_mattemill/a.jpg", "%5Fmattemill/a.jpg.png"),
        ("_mattemill.jpg", "%5Fmattemill.jpg.png"),
        ("x/_mattemill/a.jpg", "x/_mattemill/a.jpg.png"),
        ("a.png/b.jpg", "a%2Epng/b.jpg.png"),
        ("s3://bucket/x/a.jpg", "s3:/%2Fbucket/x/a.jpg.png"),
        ("file:///srv/a.jpg", "file:/%2F%2Fsrv/a.jpg.png"),
    ],
)
def test_an_output_key_is_the_key_with_what_is_dangerous_encoded(key: str, expected: str) -> None:
    assert output_key(key, "png") == expected


def test_the_format_gives_the_suffix() -> None:
    assert output_key("a.jpg", "webp") == "a.jpg.webp"


@settings(max_examples=400, deadline=None)
@given(keys)
@example("~\u0303")
@example("//")
@example("a/\u0307")
@example("s3://")
@example("file:///a")
def test_the_source_key_can_be_read_off_the_output_key(key: str) -> None:
    output = output_key(key, "png")
    if "~" not in output:
        assert unquote(output.removesuffix(".png"), errors="surrogatepass") == key


@settings(max_examples=800, deadline=None)
@given(long_keys, long_keys)
@example("s3://x/a.jpg", "x/a.jpg")
@example("s3://x/a.jpg", "s3:/x/a.jpg")
@example("s3://x/a.jpg", "s3:/%2Fx/a.jpg")
@example("file:///x/a.jpg", "x/a.jpg")
@example("s3://" + "x" * 1000, "x" * 1000)
def test_two_photographs_never_share_an_output(one: str, other: str) -> None:
    if one != other:
        assert output_key(one, "png") != output_key(other, "png")


@settings(max_examples=400, deadline=None)
@given(st.lists(nasty, min_size=2, max_size=30, unique=True))
def test_no_output_lies_where_another_has_a_folder(some: list[str]) -> None:
    outputs = {output_key(key, "png") for key in some}
    folders = {output.rsplit("/", n)[0] for output in outputs for n in range(1, output.count("/") + 1)}
    assert not outputs & folders


@settings(max_examples=800, deadline=None)
@given(long_keys)
def test_an_output_key_means_the_same_to_every_file_system_and_store(key: str) -> None:
    output = output_key(key, "webp")

    assert os.path.normpath(output) == output
    assert not output.startswith(("/", "_mattemill"))
    assert unicodedata.is_normalized("NFC", output)
    assert len(output.encode()) <= 700
    assert all(0 < len(part.encode()) <= 255 for part in output.split("/"))
    assert output.isprintable() or not any(ord(c) < 32 or ord(c) == 127 for c in output)
    assert all(part.strip(" ") == part and not part.startswith(".") for part in output.split("/"))


def test_names_that_are_too_long_keep_their_beginning_and_end_in_a_hash() -> None:
    one, other = output_key("x/" + "a" * 300 + "1.jpg", "png"), output_key("x/" + "a" * 300 + "2.jpg", "png")

    assert one.startswith("x/" + "a" * 135 + "~")
    assert one != other


def test_an_empty_key_is_a_bug() -> None:
    with pytest.raises(ValueError, match="never empty"):
        output_key("", "png")
