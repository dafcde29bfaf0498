"""Makes example.jpg, the picture at the top of the README: `python tests/samples/example.py` from the repository."""

from __future__ import annotations

import sys
from pathlib import Path

from mattemill.pipeline.contact_sheet import CutTile, contact_sheet
from mattemill.pipeline.cutter import Cutter
from mattemill.pipeline.images.decode import decode
from mattemill.pipeline.images.header import read_header

HERE = Path(__file__).parent
SHOWN = ("astronaut.jpg", "catalogue/mug.jpg", "catalogue/flower-on-grey.jpg", "grace-hopper.jpg")


def main() -> int:
    cutter = Cutter()
    tiles = []
    for name in SHOWN:
        data = (HERE / "photos" / name).read_bytes()
        cutting = cutter.cut(data)
        note = f"{cutting.facts.width}x{cutting.facts.height}, confidence {cutting.facts.scores['confidence']:.2f}"
        tiles.append(CutTile(name, decode(data, read_header(data)), cutting.pixels, note))
    sheet = contact_sheet(tiles, "photo, matte, cut-out on a colour", "u2netp on a CPU, default settings, untouched")
    sheet.save(HERE / "example.jpg", quality=88, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
