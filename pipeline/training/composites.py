"""A piece of a layer before a background: front, alpha and back, whose exact composite a camera then photographs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattemill.pipeline.training import bank
from mattemill.pipeline.training.backgrounds import studio
from mattemill.pipeline.training.bank import LAYER_SIDE, SCENE_SIDE, Entry
from mattemill.pipeline.training.noise import smooth

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Composite:
    """front, back: uint8 (S, S, 3). alpha: uint8 (S, S). soft: the subject is translucent. kind: the layer's name."""

    front: Bytes
    alpha: Bytes
    back: Bytes
    soft: bool
    kind: str

    def exact(self) -> Floats:
        """alpha * front + (1 - alpha) * back: float32 (S, S, 3) in 0..255."""
        share = self.alpha[..., None].astype(np.float32) * np.float32(1 / 255)
        return np.asarray(share * self.front + (1 - share) * self.back, np.float32)


def composite(seed: int, rng: np.random.Generator, index: int, size: int, kind: str | None = None) -> Composite:
    """A random composite of side `size`; of one kind of foreground, if one is named."""
    entry = bank.layer(seed, rng, index) if kind is None else bank.layer_of_kind(seed, kind, rng, index)
    piece = _piece(rng, entry, size)
    front, alpha = _recoloured(rng, piece[..., :3]), piece[..., 3]
    if rng.random() < 0.08:  # Two subjects, or one before the other.
        other = _piece(rng, bank.layer(seed, rng, index), size)
        front, alpha = _joined(_recoloured(rng, other[..., :3]), other[..., 3], front, alpha)
    back, plain = _background(seed, rng, index, size, entry)
    if rng.random() < 0.12:  # Something else behind, which is none of the subject.
        other = _piece(rng, bank.layer(seed, rng, index), size)
        cover = other[..., 3:].astype(np.float32) * np.float32(1 / 255)
        back = _defocused(rng, cover * _recoloured(rng, other[..., :3]) + (1 - cover) * back, 0.5)
    if rng.random() < 0.3:
        back = _alike(rng, back, front, alpha)
    if rng.random() < (0.5 if plain else 0.1):
        back = _shadowed(rng, back, alpha)
    share: Floats = alpha.astype(np.float32) * np.float32(1 / 255)
    if rng.random() < 0.25:  # Light of the background comes through and around what is thin.
        near = cv2.blur(back, (21, 21))
        front = front + (near - front) * ((1 - share) * np.float32(rng.uniform(0.05, 0.4)))[..., None]
    front, share = _blurred(rng, front, share)
    if rng.random() < 0.4:  # The white balance and exposure of the whole.
        gains = np.exp(rng.normal(0, 0.06, 3) + rng.normal(0, 0.12)).astype(np.float32)
        front, back = front * gains, back * gains
    return Composite(_bytes(front), _bytes(share * 255), _bytes(back), entry.kind.soft, entry.kind.name)


def _piece(rng: np.random.Generator, entry: Entry, size: int) -> Bytes:
    """uint8 (size, size, 4): a piece with some of the border in it, at a random scale, turned, sheared, flipped."""
    scale = np.exp(rng.uniform(np.log(0.42), np.log(1.6)))
    angle = rng.normal(0, 0.3) if rng.random() < 0.7 else rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    stretch = np.diag(np.exp(rng.normal(0, 0.1, 2))) @ np.asarray([[1, rng.normal(0, 0.08)], [0, 1]])
    if rng.random() < 0.5:
        stretch[0] *= -1
    turn = np.asarray([[cos, -sin], [sin, cos]]) @ stretch / scale
    centre = np.full(2, LAYER_SIDE / 2)
    if len(entry.edges):
        centre = entry.edges[int(rng.integers(len(entry.edges)))] + turn @ (rng.uniform(-0.35, 0.35, 2) * size)
    reach = np.abs(turn).sum(1) * size / 2
    inside = np.minimum(reach, LAYER_SIDE / 2)
    centre = np.clip(centre, inside, LAYER_SIDE - inside)
    source, by = (entry.half, 0.5) if scale < 0.62 else (entry.full, 1.0)
    matrix = np.column_stack([turn, centre - turn @ np.full(2, (size - 1) / 2)]) * by
    out = cv2.warpAffine(
        source,
        matrix,
        (size, size),
        flags=(cv2.INTER_LINEAR if scale * by < 1.1 else cv2.INTER_CUBIC) | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(out, np.uint8)


def _recoloured(rng: np.random.Generator, colours: npt.NDArray[np.generic]) -> Floats:
    """Exposure, saturation, hue and tone of a part: float32 (S, S, 3) in 0..255."""
    matrix = _colour_matrix(rng)
    out = np.asarray(cv2.transform(np.asarray(colours, np.uint8), matrix), np.uint8)
    if rng.random() < 0.5:
        curve = 255 * (np.arange(256) / 255) ** np.exp(rng.normal(0, 0.3))
        out = np.asarray(cv2.LUT(out, curve.astype(np.uint8)), np.uint8)
    return out.astype(np.float32)


def _colour_matrix(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """3x4 for cv2.transform."""
    grey = np.full((3, 3), 1 / 3)
    saturation = rng.uniform(0.3, 1.4)
    matrix = saturation * np.eye(3) + (1 - saturation) * grey
    if rng.random() < 0.25:  # A turn about the grey axis (Rodrigues).
        angle = rng.uniform(-np.pi, np.pi)
        cross = np.asarray([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
        matrix = matrix @ (np.cos(angle) * np.eye(3) + (1 - np.cos(angle)) * grey + np.sin(angle) * cross)
    gains = np.exp(rng.normal(0, 0.25) + rng.normal(0, 0.06, 3))
    lift = rng.normal(0, 12) if rng.random() < 0.5 else 0.0
    return np.column_stack([matrix * gains[:, None], np.full(3, lift)])


def _joined(front: Floats, alpha: Bytes, behind: Floats, alpha_behind: Bytes) -> tuple[Floats, Bytes]:
    """One subject of two: front over behind."""
    top = alpha.astype(np.float32)[..., None] / 255
    below = (1 - top) * alpha_behind.astype(np.float32)[..., None] / 255
    both = top + below
    colours = (top * front + below * behind) / np.maximum(both, 1e-3)
    weight = np.clip(both * 20, 0, 1)  # Where neither is: the colours that go on from the one behind.
    colours = colours * weight + behind * (1 - weight)
    return np.asarray(colours, np.float32), _bytes(both[..., 0] * 255)


def _background(seed: int, rng: np.random.Generator, index: int, size: int, entry: Entry) -> tuple[Floats, bool]:
    """float32 (S, S, 3) in 0..255, and whether it is a studio's."""
    choice = rng.random()
    if choice < 0.33:
        return studio(rng, size).astype(np.float32), True
    if choice < 0.42:  # The subject's own surface: nothing but alpha's shape tells them apart.
        source, side = entry.full[..., :3], LAYER_SIDE
    else:
        source, side = bank.scene(seed, rng, index), SCENE_SIDE
    scale = np.exp(rng.uniform(np.log(size / side), np.log(2.0)))
    angle = rng.normal(0, 0.2) if rng.random() < 0.7 else rng.uniform(0, 2 * np.pi)
    turn = np.asarray([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    if rng.random() < 0.5:
        turn[:, 0] *= -1
    reach = np.minimum(np.abs(turn).sum(1) * size / 2, side / 2)
    centre = rng.uniform(reach, side - reach + 1e-6)
    matrix = np.column_stack([turn, centre - turn @ np.full(2, (size - 1) / 2)])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    piece = cv2.warpAffine(source, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return _defocused(rng, _recoloured(rng, piece), 0.7), False


def _defocused(rng: np.random.Generator, image: Floats, chance: float) -> Floats:
    if rng.random() > chance:
        return image
    reach = np.exp(rng.uniform(np.log(0.7), np.log(18)))
    if reach < 4:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), reach), np.float32)
    # A lens blurs to discs; at a quarter of the size a small one will do.
    size = image.shape[0]
    small = cv2.resize(image, (size // 4, size // 4), interpolation=cv2.INTER_AREA)
    disc = _disc(reach / 2)
    small = cv2.filter2D(small, -1, disc, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(np.clip(cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC), 0, 255), np.float32)


def _disc(radius: float) -> Floats:
    side = int(np.ceil(radius)) * 2 + 1
    rows, columns = np.mgrid[0:side, 0:side] - side // 2
    kernel = np.clip(radius + 0.5 - np.hypot(rows, columns), 0, 1)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _alike(rng: np.random.Generator, back: Floats, front: Floats, alpha: Bytes) -> Floats:
    """The background in the mean colour of the subject, almost: white on white, black on black."""
    weight = cv2.mean(front, (alpha > 127).astype(np.uint8))[:3] if (alpha > 127).any() else front.mean((0, 1))
    target = np.asarray(weight, np.float32) + rng.normal(0, 14) + rng.normal(0, 6, 3)
    mean = back.mean((0, 1))
    share = rng.uniform(0.6, 1.0)
    out = (back - mean) * rng.uniform(0.3, 1.0) + mean + share * (target - mean)
    return np.asarray(np.clip(out, 0, 255), np.float32)


def _shadowed(rng: np.random.Generator, back: Floats, alpha: Bytes) -> Floats:
    """A soft shadow of the subject on what is behind; it belongs to the background."""
    size = alpha.shape[0]
    move = np.asarray([[1, 0, rng.normal(0, 10)], [0, 1, abs(rng.normal(0, 12))]])
    shifted = cv2.warpAffine(alpha, move, (size, size), borderMode=cv2.BORDER_REPLICATE).astype(np.float32) / 255
    shade = cv2.GaussianBlur(shifted, (0, 0), np.exp(rng.uniform(np.log(2), np.log(20))))
    return np.asarray(back * (1 - rng.uniform(0.08, 0.6) * shade)[..., None], np.float32)


def _blurred(rng: np.random.Generator, front: Floats, alpha: Floats) -> tuple[Floats, Floats]:
    """Lens and motion, on premultiplied colours; every lens blurs a little."""
    size = alpha.shape[0]
    canvas = np.dstack([front * alpha[..., None], alpha])
    choice = rng.random()
    if choice < 0.09:  # Out of focus, sometimes more so on one side.
        out = cv2.filter2D(canvas, -1, _disc(rng.uniform(1.5, 7)), borderType=cv2.BORDER_REFLECT_101)
        if rng.random() < 0.5:
            share = np.clip(smooth(rng, size, 2) + 0.5, 0, 1)[..., None]
            out = out * share + canvas * (1 - share)
    elif choice < 0.15:
        out = cv2.filter2D(canvas, -1, _streak(rng), borderType=cv2.BORDER_REFLECT_101)
    elif choice < 0.85:
        out = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.3, 1.0))
    else:
        return front, alpha
    share = out[..., 3:]
    weight = np.clip(share * 30 - 0.5, 0, 1)
    colours = out[..., :3] / np.maximum(share, 1e-3)
    return np.asarray(colours * weight + front * (1 - weight), np.float32), np.asarray(out[..., 3], np.float32)


def _streak(rng: np.random.Generator) -> Floats:
    side = 2 * int(rng.integers(2, 11)) + 1
    angle = rng.uniform(0, np.pi)
    way = np.asarray([np.cos(angle), np.sin(angle)]) * (side / 2 - 1)
    ends = np.asarray(np.round((side // 2 + np.stack([-way, way])) * 16), np.int32)
    kernel = np.zeros((side, side), np.uint8)
    cv2.polylines(kernel, [ends], False, 255.0, 1, cv2.LINE_AA, 4)
    return np.asarray(kernel / max(1.0, float(kernel.sum())), np.float32)


def _bytes(values: npt.NDArray[np.floating]) -> Bytes:
    return np.asarray(np.clip(values + 0.5, 0, 255), np.uint8)
