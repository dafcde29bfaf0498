"""From a matte to what the user asked for: cleaned, feathered, on a canvas, with a shadow, on a background."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.kernels.canvas import place, place_colours, place_plane
from mattemill.kernels.colour_match import match_colour
from mattemill.kernels.compose import alpha_bytes, compose_over, compose_rgba
from mattemill.kernels.despeckle import despeckle
from mattemill.kernels.feather import feather
from mattemill.kernels.foreground import estimate_foreground
from mattemill.kernels.holes import fill_holes
from mattemill.kernels.shadow import drawn_shadow, kept_shadow, lay_under
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.finishing_settings import DEFAULT_MARGIN, parse_canvas, parse_margin
from mattemill.pipeline.photo import Alpha, Rgb

Bytes = npt.NDArray[np.uint8]


class Finisher:
    """Makes the output of a photograph and its matte, by the settings of a job.

    The order: islands off, holes filled, the subject's own colours found for that matte, its shadow looked for, the
    edge feathered, everything placed on the canvas, the shadow drawn, the colours matched, laid on the background.
    So a feathered edge shows the subject's colours, a drawn shadow has the canvas to fall on, and it is as wide on the
    canvas for a large photograph as for a small one.

    background: a colour uint8 (3,) or a picture uint8 (h, w, 3) for a composite, None for the other outputs.
    """

    def __init__(self, config: JobConfig, background: Bytes | None) -> None:
        self._config = config
        self._background = background
        self._canvas = parse_canvas(config.canvas) if config.canvas is not None else None
        if self._canvas is not None:
            self._margin = parse_margin(config.margin if config.margin is not None else DEFAULT_MARGIN, self._canvas)

    def __call__(self, image: Rgb, alpha: Alpha) -> tuple[Bytes, dict[str, float]]:
        """(pixels as `Cut` has them, figures of what was done; none without finishing).

        image: uint8 (H, W, 3). alpha: float32 (H, W) in 0..1; not changed.
        """
        config, figures = self._config, dict[str, float]()
        if config.despeckle:
            alpha, specks = despeckle(alpha)
            figures["islands_removed"] = float(specks)
        if config.fill_holes:
            alpha, holes = fill_holes(image, alpha)
            figures["holes_filled"] = float(holes)
        if config.output == "matte":
            alpha = feather(alpha, config.feather)
            if self._canvas is not None:
                where = place(alpha, self._canvas, self._margin, upscale=config.upscale)
                alpha = place_plane(alpha, where, self._canvas)
            return alpha_bytes(alpha), figures
        front = estimate_foreground(image, alpha)
        shadow = kept_shadow(image, alpha) if config.shadow == "keep" else None
        alpha = feather(alpha, config.feather)
        if self._canvas is not None:
            where = place(alpha, self._canvas, self._margin, upscale=config.upscale)
            front, alpha = place_colours(front, alpha, where, self._canvas)
            if shadow is not None:
                shadow = place_plane(shadow, where, self._canvas)
        if config.shadow == "drop":
            shadow = drawn_shadow(alpha)
        behind = fitted(self._background, front.shape) if self._background is not None else None
        if config.match_colour > 0 and behind is not None:
            front = match_colour(front, alpha, behind, config.match_colour)
        if shadow is not None:
            figures["shadow_peak"] = float(shadow.max())
            front, alpha = lay_under(front, alpha, shadow)
        if behind is None:
            return compose_rgba(front, alpha), figures
        return compose_over(front, alpha, behind), figures


def fitted(background: Bytes, shape: tuple[int, ...]) -> Bytes:
    """The background scaled to cover (H, W), its middle kept; a colour as it is."""
    if background.ndim == 1 or background.shape == shape:
        return background
    height, width = shape[:2]
    scale = max(height / background.shape[0], width / background.shape[1])
    # The part that will be seen, cut out first: a panorama is not blown up to be thrown away.
    rows = min(background.shape[0], max(1, round(height / scale)))
    columns = min(background.shape[1], max(1, round(width / scale)))
    top, left = (background.shape[0] - rows) // 2, (background.shape[1] - columns) // 2
    part = background[top : top + rows, left : left + columns]
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (width, height), interpolation=interpolation), np.uint8)
