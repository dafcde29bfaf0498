"""What a photograph says of its taker does not go on, and documents name only what there is."""

from __future__ import annotations

import io
import re
from pathlib import Path

import odd_images as odd
import pytest
from manifests import INFRA
from PIL import Image

from mattemill.cluster.cli.main import build_parser
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.images.header import read_header
from mattemill.pipeline.images.preview import preview_jpeg

DOCS = sorted((INFRA / "docs").glob("*.md"))


def test_the_place_of_a_photograph_does_not_reach_its_preview() -> None:
    source = odd.oriented_jpeg(6)
    assert b"Mattemill Phone" in source
    preview = preview_jpeg(decode(source, read_header(source)))
    assert b"Mattemill Phone" not in preview
    assert b"Exif" not in preview
    assert not Image.open(io.BytesIO(preview)).getexif()


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:infra|tests)/[\w./-]+\.(?:py|sh|yaml|env|cpu|gpu)\b", text))
    named |= {f"infra/docs/{name}" for name in re.findall(r"\]\((?!http|\.\.)([\w.]+)\)", text)}
    for name in named:
        assert (INFRA.parent / name).exists(), f"{page.name}: {name}"


def test_commands_of_the_pages_parse() -> None:
    found = []
    for page in DOCS:
        for block in re.findall(r"```\w*\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            found += re.findall(r"^(?:\$ )?mattemill ([^|>\n]+)", block, re.MULTILINE)
    assert len(found) >= 3
    for command in found:
        build_parser().parse_args(command.split())
