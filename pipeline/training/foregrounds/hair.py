"""Heads of hair: clumps of tapering strands that fall, wave or curl, over a head and shoulders, with flyaways.

Strands follow their clump's guide curve and close in on it towards the tip, as hair is modelled in film (Ward et al.,
A Survey on Hair Modeling, 2007); the highlight is where strands lie across the light (Kajiya, Kay 1989).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.pipeline.training.colours import hair_colour, near, skin_colour
from mattemill.pipeline.training.foregrounds.shapes import blob, shaded
from mattemill.pipeline.training.foregrounds.strokes import canvas, filled, light_direction, reduced, strands
from mattemill.pipeline.training.layer import Layer, from_premultiplied, over, painted
from mattemill.pipeline.training.noise import fractal, smooth
from mattemill.pipeline.training.textures import texture

Floats = npt.NDArray[np.floating[Any]]

_STEPS, _PIECES = 32, 4


@dataclass(frozen=True, slots=True)
class Style:
    """How hair falls. Lengths in parts of the layer's side.

    length, spread (of a clump), fall: how soon a strand turns down; wave: of the direction, radians; turns: waves along
    a strand; frizz: random walk of the direction; loose: share of strands that go their own way.
    """

    length: float
    spread: float
    fall: float
    wave: float
    turns: float
    frizz: float
    loose: float


_STYLES = (
    Style(0.55, 0.020, 3.0, 0.06, 1.0, 0.02, 0.05),  # long and straight
    Style(0.50, 0.025, 2.2, 0.45, 3.0, 0.03, 0.08),  # wavy
    Style(0.34, 0.022, 1.2, 1.10, 5.0, 0.08, 0.10),  # curly
    Style(0.16, 0.012, 0.2, 0.15, 1.0, 0.06, 0.10),  # short, on end
    Style(0.22, 0.030, 0.1, 1.60, 6.0, 0.20, 0.20),  # a ball of frizz
    Style(0.40, 0.060, 0.6, 0.30, 1.5, 0.05, 0.30),  # blown about
)


def make(rng: np.random.Generator, size: int) -> Layer:
    """A head and shoulders with hair; side `size`."""
    style = _STYLES[int(rng.integers(len(_STYLES)))]
    centre = np.asarray([rng.uniform(0.4, 0.6), rng.uniform(0.34, 0.5)]) * size
    radii = np.asarray([1.0, rng.uniform(1.1, 1.35)]) * rng.uniform(0.13, 0.21) * size
    colour = hair_colour(rng)
    light = light_direction(rng)
    wind = rng.normal(0, 0.5)
    count = int(rng.integers(2500, 5500))
    width = np.exp(rng.uniform(np.log(0.3), np.log(1.4)))
    behind = _hair(rng, size, style, count, (centre, radii), colour, light, wind, width, before=False)
    before = _hair(rng, size, style, count // 2, (centre, radii), colour, light, wind, width, before=True)
    return from_premultiplied(over(before, over(_person(rng, size, centre, radii, colour), behind)))


def _person(rng: np.random.Generator, size: int, centre: Floats, radii: Floats, hair: Floats) -> Floats:
    """Shoulders in some cloth, a neck and face, and the cap that hair grows on."""
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    skin = skin_colour(rng)
    face = np.asarray([centre[0], centre[1] + 0.25 * radii[1]])
    shoulders = blob(rng, (centre[0], centre[1] + radii[1] * 3.4), radii[0] * 2.4, 0.1)
    coverage = filled(size, [shoulders])
    out = painted(shaded(rng, texture(rng, size), coverage), coverage)
    for middle, wide, tall, tone in (
        ((centre[0], centre[1] + radii[1] * 1.1), 0.45, 0.7, skin * 0.8),
        ((face[0], face[1]), 0.85, 0.95, skin),
        ((centre[0], centre[1] - 0.12 * radii[1]), 0.97, 0.85, hair * 0.55),
    ):
        distance = np.hypot((columns - middle[0]) / (wide * radii[0]), (rows - middle[1]) / (tall * radii[1]))
        mask = np.clip((1 - distance) * radii[0] * wide + 0.5, 0, 1).astype(np.float32)
        gloss = 0.6 if tone is skin else 0.0
        shade = shaded(rng, np.broadcast_to(tone, (size, size, 3)).astype(np.float32), mask, 0.7, gloss)
        if tone is skin:  # Face below the hairline only.
            mask = mask * np.clip((rows - (centre[1] - 0.1 * radii[1])) / 6, 0, 1)
        out = over(painted(shade, mask), out)
    return out


def _hair(
    rng: np.random.Generator,
    size: int,
    style: Style,
    count: int,
    head: tuple[Floats, Floats],
    colour: Floats,
    light: Floats,
    wind: float,
    width: float,
    before: bool,
) -> Floats:
    """Premultiplied strands: those behind the head, from its border, or those before it, from all over the scalp."""
    centre, radii = head
    clumps = int(rng.integers(40, 140)) * (2 if before else 1)
    angles = rng.normal(-np.pi / 2, 0.85 if before else 1.15, clumps)
    inner = np.sqrt(rng.uniform(0.0 if before else 0.35, 0.95, clumps))
    middle = centre - np.asarray([0, 0.12]) * radii
    roots = middle + np.stack([np.cos(angles), np.sin(angles)], 1) * radii * [0.97, 0.85] * inner[:, None]
    which = rng.integers(clumps, size=count)
    loose = rng.random(count) < style.loose
    lengths = style.length * size * rng.uniform(0.6, 1.1, clumps)[which] * rng.uniform(0.75, 1.1, count)
    lengths[loose] *= rng.uniform(0.4, 1.2, int(loose.sum()))
    start = angles + rng.normal(0, 0.3, clumps)
    paths = _paths(rng, size, style, roots, start, which, lengths, loose, wind)
    shade = _shades(rng, paths, which, clumps, colour, light)
    taper = np.linspace(1.15, 0.45, _PIECES, dtype=np.float32)
    widths = np.asarray(width * rng.uniform(0.6, 1.25, (count, 1)) * taper, np.float32)
    widths[loose] *= 0.6
    order = np.argsort(~loose, kind="stable")  # What flies about first: it is thin, and mostly at the border.
    target = canvas(size)
    strands(target, paths[order], widths[order], shade[order])
    return thinned(reduced(target), min(1.0, width / 0.6))


def thinned(strands_: Floats, share: float) -> Floats:
    """The same strands of a share of their width, for widths that cannot be drawn: 1 - (1 - alpha) ** share.

    Strands that lie at random cover so (Beer and Lambert); what is opaque stays so.
    """
    alpha = strands_[..., 3:]
    thinner = 1 - (1 - np.clip(alpha, 0, 1)) ** share
    return np.asarray(strands_ * (thinner / np.maximum(alpha, 1e-6)), np.float32)


def _paths(
    rng: np.random.Generator,
    size: int,
    style: Style,
    roots: Floats,
    start: Floats,
    which: npt.NDArray[np.int64],
    lengths: Floats,
    loose: npt.NDArray[np.bool_],
    wind: float,
) -> Floats:
    """(count, _STEPS + 1, 2): direction turns from the root's normal to the fall, plus waves, noise and frizz."""
    count, clumps = len(which), len(roots)
    along = np.linspace(0, 1, _STEPS + 1)[None]
    down = np.pi / 2 + wind * 0.5
    turn = np.angle(np.exp(1j * (down - start)))[which, None]
    swing = turn * (1 - np.exp(-style.fall * along * 1.5))
    phase = rng.uniform(0, 2 * np.pi, clumps)[which, None] + rng.normal(0, 0.25, (count, 1))
    turns = style.turns * rng.uniform(0.7, 1.3, clumps)[which, None]
    waves = style.wave * rng.uniform(0.5, 1.3, clumps)[which, None] * np.sin(2 * np.pi * turns * along + phase)
    pushes = cv2.GaussianBlur(rng.normal(0, style.frizz, (count, _STEPS + 1)), (7, 1), 1.5) * 1.8
    walk = np.cumsum(pushes, 1)
    own = rng.normal(0, 0.5, (count, 1)) * loose[:, None]
    curl = np.cumsum(np.broadcast_to(rng.normal(0, 0.07, (count, 1)) * loose[:, None], walk.shape), 1)
    heading = start[which, None] + swing + waves + walk + own + curl
    heading += 0.35 * rng.normal(0, 1, (clumps, 1))[which] * along
    step = (lengths / _STEPS)[:, None]
    offset = rng.normal(0, style.spread * size, (count, 2))
    x = np.cumsum(np.cos(heading) * step, 1)
    y = np.cumsum(np.sin(heading) * step, 1)
    close = 1 - rng.uniform(0.2, 0.9, clumps)[which, None] * along**1.5
    close = np.where(loose[:, None], 1.0, close)
    paths = np.stack([x + offset[:, :1] * close, y + offset[:, 1:] * close], 2) + roots[which, None]
    drift_x, drift_y = smooth(rng, 64, 5), smooth(rng, 64, 5)
    at = np.clip(paths / size * 63, 0, 63).astype(int)
    moved = np.stack([drift_x[at[..., 1], at[..., 0]], drift_y[at[..., 1], at[..., 0]]], 2)
    moved = cv2.blur(moved.astype(np.float32), (1, 1)) * (along[..., None] * style.wave * size * 0.01)
    return np.asarray(paths + moved, np.float32)


def _shades(
    rng: np.random.Generator,
    paths: Floats,
    which: npt.NDArray[np.int64],
    clumps: int,
    colour: Floats,
    light: Floats,
) -> Floats:
    """(count, _PIECES, 3): own tone of clump and strand, dark roots, and a highlight across the light."""
    count = len(paths)
    tone = 1 + rng.normal(0, 0.14, clumps)[which] + rng.normal(0, 0.10, count)
    depth = np.linspace(0.6, 1.05, count)
    ends = paths[:, :: _STEPS // _PIECES]
    along = np.diff(ends, axis=1)
    along = along / np.maximum(np.linalg.norm(along, axis=2, keepdims=True), 1e-3)
    across = np.sqrt(np.clip(1 - (along @ light) ** 2, 0, 1))
    shine = rng.uniform(0.05, 0.5) * across ** rng.choice([6.0, 15.0])
    root = np.linspace(rng.uniform(0.6, 1.0), 1.1, _PIECES)
    value = (tone * depth)[:, None] * root
    highlight = near(rng, np.asarray([1.0, 0.95, 0.88], np.float32), 0.04)
    tip = near(rng, colour, 0.12 if rng.random() < 0.3 else 0.03)
    blend = np.linspace(0, 1, _PIECES)[None, :, None]
    base = (colour * (1 - blend) + tip * blend) * value[..., None]
    return np.asarray(base + highlight * shine[..., None] * (0.15 + 0.85 * base.mean(2, keepdims=True)), np.float32)


def tuft(rng: np.random.Generator, size: int) -> Layer:
    """Hair that hangs or is laid out: a wig's end, a ponytail, extensions, a brush, a fringe of a carpet."""
    style = _STYLES[int(rng.integers(len(_STYLES)))]
    style = Style(
        rng.uniform(0.3, 0.8), rng.uniform(0.01, 0.05), 0.0, style.wave * 0.6, style.turns, style.frizz, style.loose
    )
    clumps, count = int(rng.integers(10, 60)), int(rng.integers(900, 4000))
    way = rng.uniform(0, 2 * np.pi)
    ends = np.asarray([np.cos(way + np.pi / 2), np.sin(way + np.pi / 2)])
    middle = size * 0.5 - np.asarray([np.cos(way), np.sin(way)]) * style.length * size * 0.5
    roots = middle + ends * rng.uniform(-0.3, 0.3, (clumps, 1)) * size
    which = rng.integers(clumps, size=count)
    loose = rng.random(count) < style.loose
    lengths = style.length * size * rng.uniform(0.6, 1.1, clumps)[which] * rng.uniform(0.7, 1.1, count)
    start = way + rng.normal(0, 0.15, clumps)
    paths = _paths(rng, size, style, roots, start, which, lengths, loose, 0.0)
    colour = hair_colour(rng) if rng.random() < 0.6 else texture(rng, 32)[16, 16]
    shade = _shades(rng, paths, which, clumps, colour, light_direction(rng))
    taper = np.linspace(1.1, 0.5, _PIECES, dtype=np.float32)
    widths = np.asarray(
        np.exp(rng.uniform(np.log(0.3), np.log(2.0))) * rng.uniform(0.6, 1.3, (count, 1)) * taper, np.float32
    )
    target = canvas(size)
    strands(target, paths, widths, shade)
    share = np.exp(rng.uniform(np.log(0.4), 0))
    holder = blob(rng, (float(middle[0]), float(middle[1])), size * rng.uniform(0.05, 0.2), 0.2)
    coverage = filled(size, [holder])
    body = painted(shaded(rng, texture(rng, size), coverage), coverage)
    uneven = 0.85 + 0.3 * fractal(rng, size, 4, 4)
    out = over(thinned(reduced(target), share), body)
    out[..., :3] *= uneven[..., None]
    return from_premultiplied(out)
