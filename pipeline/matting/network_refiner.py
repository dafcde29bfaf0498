"""Alpha in the unknown band: a coarse closed-form matte, and the matting network over it, tile by tile."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mattemill.kernels.closed_form import closed_form_lines
from mattemill.kernels.colour_lines import apply_colour_lines, part_of_lines
from mattemill.kernels.tile_blend import blend_tile, ramp
from mattemill.kernels.tile_input import cut_out, known_and, tile_input
from mattemill.kernels.trimap import UNKNOWN
from mattemill.pipeline.engines.engine import Engine
from mattemill.pipeline.matting.tile_plan import BLEND, CLOSED, Tile, plan_tiles, seen_step
from mattemill.pipeline.photo import Alpha, Rgb

INPUT, OUTPUT = "given", "lines"


class MattingNetworkRefiner:
    """Alpha in a trimap's unknown band; outside it the trimap's 0 and 1.

    First a closed-form matte, then, tile by tile, the network, which sees it, and the mask, and the photograph. What
    both predict are functions of the colour, drawn at full size: they lose little at smaller ones. step: the network
    sees 1/step of the photograph's side, and the closed-form matte is solved at half of that. A photograph longer than
    1,600 px is shown at a half, a third ... of that: the band of a soft mask grows with the photograph. Memory beyond
    the arguments and the result is 5 bytes a pixel, some 60 bytes a pixel of one tile, and less than 1 kB a cell of the
    closed-form level that is unknown.
    """

    def __init__(self, engine: Engine, step: int = 2) -> None:
        self._engine = engine
        self._step = step

    def __call__(
        self,
        image: Rgb,
        soft: Alpha,
        bands: npt.NDArray[np.uint8],
        where: npt.NDArray[np.bool_] | None = None,
    ) -> Alpha:
        """See `BandRefiner`. The closed-form matte is solved in the whole band: its pixels decide each other."""
        unknown = bands == UNKNOWN
        matte = known_and(soft, bands)
        asked = unknown if where is None else unknown & where
        if not asked.any():
            return matte
        step = seen_step(soft.shape, self._step)
        closed = closed_form_lines(image, bands, CLOSED * step)
        written = np.zeros(soft.shape, np.uint8)
        for tile in plan_tiles(asked, step):
            found = self._alpha(image, soft, bands, closed, tile, step)
            x0, y0, x1, y1 = tile.wide
            at = (slice(y0, y1), slice(x0, x1))
            blend_tile(matte[at], written[at], found, unknown[at], ramp(tile.inner, tile.wide, BLEND * step))
        return matte

    def _alpha(
        self,
        image: Rgb,
        soft: Alpha,
        bands: npt.NDArray[np.uint8],
        closed: npt.NDArray[np.float32],
        tile: Tile,
        step: int,
    ) -> npt.NDArray[np.float32]:
        """Alpha of what a tile draws, computed in all that it is shown."""
        left, top, right, bottom = tile.shown
        part = (top, left, bottom - top, right - left)
        photo = cut_out(image, *part)
        known = cut_out(bands, *part)
        mask = known_and(cut_out(soft, *part), known)
        drawn = apply_colour_lines(part_of_lines(closed, (soft.shape[0], soft.shape[1]), *part), photo, mask)
        guess = np.asarray(np.where(known == UNKNOWN, drawn, mask), np.float32)
        lines = self._engine.run({INPUT: tile_input(photo, mask, guess, known, step)})[OUTPUT][0]
        x0, y0, x1, y1 = tile.wide
        return apply_colour_lines(lines, photo, guess)[y0 - top : y1 - top, x0 - left : x1 - left]
