"""Fringes: cut-outs laid on black, white and saturated colours, compared with the exact composite.

The photographs are generated, so that the subject's colours are known: a texture in front, another behind, and an exact
alpha of four kinds: hair (fine strokes), defocus (a wide soft edge), lace (thin threads with holes between) and veil (a
large translucent sheet). Every method gets the photograph and the exact alpha, and gives the colours of the subject.

Compared: the photograph's own colours (what a cut-out without colour estimation holds), the kernel of this project,
pymatting's estimate_foreground_ml (Germer et al. 2020, the reference) and blur fusion in two passes (Forte and Pitie
2021). Figures are grey levels of 255, over the pixels with alpha in .02 .. .98 and all three channels: the mean, and
the mean of the worst 1 %.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import bench
import cv2
import numpy as np
import numpy.typing as npt

from mattemill.kernels.compose import compose_over
from mattemill.kernels.foreground import estimate_foreground

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Estimate = Callable[[Bytes, Floats], Bytes]

BACKGROUNDS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "magenta": (255, 0, 255),
}
SIZES = ((640, 800), (1200, 1600), (3000, 4000))
"""(height, width): 0.5, 1.9 and 12 MP."""

KINDS = ("hair", "defocus", "lace", "veil")


def main(arguments: list[str] | None = None) -> int:
    parser = bench.parser(__doc__)
    parser.add_argument("--scenes", type=int, default=4, metavar="N", help="photographs a kind and size (4)")
    parser.add_argument("--largest", type=float, default=12.0, metavar="MP", help="leave out sizes above this (12)")
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    machine = bench.machine()
    methods = _methods()
    rows: list[dict[str, Any]] = []
    for shape in SIZES:
        megapixels = shape[0] * shape[1] / 1e6
        if megapixels > args.largest:
            continue
        for kind in KINDS:
            for number in range(args.scenes):
                front, back, alpha = scene(kind, number, shape)
                photo = _over(front, alpha, back)
                for name, estimate in methods.items():
                    start = time.perf_counter()
                    found = estimate(photo, alpha)
                    seconds = time.perf_counter() - start
                    rows.append(
                        {"method": name, "kind": kind, "megapixels": round(megapixels, 1), "scene": number}
                        | {"ms_a_megapixel": seconds * 1000 / megapixels}
                        | {f"on_{colour}": fringe(found, front, alpha, rgb) for colour, rgb in BACKGROUNDS.items()}
                    )
            bench.say(f"{megapixels:.1f} MP {kind}: done")
    result = {"machine": machine, "scenes": args.scenes, "methods": list(methods), **_tables(rows, methods)}
    bench.finish("fringes", result, args, _lines(result, machine))
    return 0


def fringe(found: Bytes, front: Bytes, alpha: Floats, colour: tuple[int, int, int]) -> tuple[float, float]:
    """(mean, mean of the worst 1 %) grey levels by which a cut-out on a colour is off in the band."""
    behind = np.array(colour, np.uint8)
    band = (alpha > 0.02) & (alpha < 0.98)
    made = compose_over(found, alpha, behind)[band].astype(np.float32)
    weight = alpha[band][:, None]
    exact = weight * front[band] + (1 - weight) * behind.astype(np.float32)
    off = np.abs(made - exact).mean(axis=1)
    worst = np.partition(off, -max(1, len(off) // 100))[-max(1, len(off) // 100) :]
    return float(off.mean()), float(worst.mean())


# ---- scenes ----


def scene(kind: str, number: int, shape: tuple[int, int]) -> tuple[Bytes, Bytes, Floats]:
    """(front, back, alpha): uint8 (H, W, 3) twice and float32 (H, W); the same for the same arguments."""
    rng = np.random.default_rng([KINDS.index(kind), number, *shape])
    alphas: dict[str, Callable[[np.random.Generator, tuple[int, int]], Floats]] = {
        "hair": _hair,
        "defocus": _defocus,
        "lace": _lace,
        "veil": _veil,
    }
    return texture(rng, shape), texture(rng, shape), alphas[kind](rng, shape)


def texture(rng: np.random.Generator, shape: tuple[int, int]) -> Bytes:
    """Colours in octaves, from a few large patches to grain: uint8 (H, W, 3)."""
    height, width = shape
    out = np.full((height, width, 3), rng.uniform(40, 215, 3), np.float32)
    for cells, strength in ((2, 70.0), (6, 40.0), (24, 18.0), (120, 8.0), (600, 4.0)):
        if cells >= min(shape):
            break
        noise = rng.normal(0, strength, (cells, round(cells * width / height), 3)).astype(np.float32)
        out += np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))
    return np.clip(out, 0, 255).astype(np.uint8)


def _blob(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Signed distance to a wavy outline in pixels, positive inside; float32 (H, W)."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    dx, dy = x - shape[1] / 2, y - shape[0] / 2
    angle = np.arctan2(dy, dx)
    radius = np.full(shape, 0.30 * shape[0], np.float32)
    for waves in (2, 3, 5):
        radius += np.float32(0.035 * shape[0] * rng.normal()) * np.sin(waves * angle + np.float32(rng.uniform(0, 6.3)))
    return np.asarray(radius - np.hypot(dx, dy), np.float32)


def _hair(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    inside = np.clip(_blob(rng, shape) + 0.5, 0, 1)
    canvas = np.asarray(inside * 255, np.uint8)
    unit = shape[0] / 1000
    for _ in range(700):
        turn = rng.uniform(0, 2 * np.pi)
        at = np.array([shape[1] / 2, shape[0] / 2]) + 0.27 * shape[0] * np.array([np.cos(turn), np.sin(turn)])
        heading, points = turn + rng.normal(0, 0.4), [at]
        for _ in range(12):
            heading += rng.normal(0, 0.12)
            at = at + 0.016 * shape[0] * np.array([np.cos(heading), np.sin(heading)])
            points.append(at)
        line = np.rint(np.array(points) * 16).astype(np.int32).reshape(-1, 1, 2)
        strand = int(rng.uniform(90, 255))
        thick = max(1, round(rng.uniform(0.8, 2.2) * unit))
        layer_box = cv2.boundingRect(np.rint(np.array(points)).astype(np.int32))
        x0, y0 = max(0, layer_box[0] - 8), max(0, layer_box[1] - 8)
        x1, y1 = min(shape[1], x0 + layer_box[2] + 16), min(shape[0], y0 + layer_box[3] + 16)
        if x1 <= x0 or y1 <= y0:
            continue
        layer = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.polylines(layer, [line - np.array([x0, y0]) * 16], False, strand, thick, cv2.LINE_AA, 4)
        view = canvas[y0:y1, x0:x1]
        np.maximum(view, layer, out=view)
    return np.asarray(canvas, np.float32) / 255


def _defocus(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    wide = 0.02 * shape[0] * rng.uniform(0.5, 2)
    t = np.clip(0.5 + _blob(rng, shape) / (2 * wide), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _lace(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    cell = 0.02 * shape[0] * rng.uniform(0.7, 1.5)
    threads = np.maximum(np.abs(np.sin((x + 0.6 * y) * np.pi / cell)), np.abs(np.sin((x - 0.7 * y) * np.pi / cell)))
    sharp = cell / 6
    woven = np.clip((threads - 0.93) * sharp * 2 + 0.5, 0, 1)
    distance = _blob(rng, shape)
    rim = np.clip(1.5 - np.abs(distance) / (0.006 * shape[0]), 0, 1)
    return np.asarray(np.maximum(woven * np.clip(distance + 0.5, 0, 1), rim), np.float32)


def _veil(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    cells = rng.uniform(0.15, 0.9, (5, 7)).astype(np.float32)
    folds = np.asarray(cv2.resize(cells, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)
    distance = _blob(rng, shape)
    body = np.clip(distance - 0.12 * shape[0], 0, 1)  # a solid middle, as of who wears it
    return np.asarray(np.clip(np.maximum(folds * np.clip(distance + 0.5, 0, 1), body), 0, 1), np.float32)


def _over(front: Bytes, alpha: Floats, back: Bytes) -> Bytes:
    mixed = alpha[..., None] * front + (1 - alpha[..., None]) * back
    return (mixed + np.float32(0.5)).astype(np.uint8)


# ---- methods ----


def _methods() -> dict[str, Estimate]:
    methods: dict[str, Estimate] = {
        "photograph": lambda photo, alpha: photo,
        "mattemill": estimate_foreground,
        "blur_fusion": blur_fusion,
    }
    try:
        from pymatting import estimate_foreground_ml
    except ImportError:
        bench.say("pymatting is not installed: left out (pip install pymatting)")
        return methods

    def multi_level(photo: Bytes, alpha: Floats) -> Bytes:
        return _bytes(estimate_foreground_ml(photo / 255.0, alpha.astype(np.float64)))

    multi_level(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.float32))  # compiles
    methods["pymatting_ml"] = multi_level
    return methods


def blur_fusion(photo: Bytes, alpha: Floats) -> Bytes:
    """Forte, Pitie: Approximate Fast Foreground Colour Estimation, ICIP 2021: two passes, radii 90 and 6."""
    image = photo.astype(np.float32) / 255
    front = back = image
    weight = alpha[..., None]
    for side in (90, 6):
        share = np.asarray(cv2.blur(alpha, (side, side)))[..., None]
        mean_front = np.asarray(cv2.blur(front * weight, (side, side))) / (share + 1e-5)
        back = np.asarray(cv2.blur(back * (1 - weight), (side, side))) / (1 - share + 1e-5)
        front = np.clip(mean_front + weight * (image - weight * mean_front - (1 - weight) * back), 0, 1)
    return _bytes(front)


def _bytes(unit: npt.NDArray[Any]) -> Bytes:
    return np.clip(unit * 255 + 0.5, 0, 255).astype(np.uint8)


# ---- what is said of it ----


def _tables(rows: list[dict[str, Any]], methods: dict[str, Estimate]) -> dict[str, Any]:
    columns = [f"on_{name}" for name in BACKGROUNDS]

    def mean_of(some: list[dict[str, Any]]) -> dict[str, float]:
        return {
            "mean": round(float(np.mean([row[c][0] for row in some for c in columns])), 3),
            "worst_1_percent": round(float(np.mean([row[c][1] for row in some for c in columns])), 2),
        }

    out: dict[str, Any] = {"all": {}, "by_kind": {}, "by_megapixels": {}, "by_background": {}}
    for name in methods:
        own = [row for row in rows if row["method"] == name]
        out["all"][name] = mean_of(own) | {
            "ms_a_megapixel": round(bench.median([row["ms_a_megapixel"] for row in own]), 1)
        }
        for key, group in (("kind", "by_kind"), ("megapixels", "by_megapixels")):
            for value in dict.fromkeys(row[key] for row in own):
                some = [row for row in own if row[key] == value]
                figures = mean_of(some)
                if key == "megapixels":
                    figures["ms_a_megapixel"] = round(bench.median([row["ms_a_megapixel"] for row in some]), 1)
                out[group].setdefault(str(value), {})[name] = figures
        for colour, column in zip(BACKGROUNDS, columns, strict=True):
            out["by_background"].setdefault(colour, {})[name] = {
                "mean": round(float(np.mean([row[column][0] for row in own])), 3),
                "worst_1_percent": round(float(np.mean([row[column][1] for row in own])), 2),
            }
    return out


def _lines(result: dict[str, Any], machine: dict[str, Any]) -> list[str]:
    lines = [bench.machine_line(machine), "grey levels off in the band: mean / worst 1 %"]
    names = result["methods"]
    lines.append(f"{'':>12} " + " ".join(f"{name:>16}" for name in names))
    groups = [("all", result["all"]), *result["by_kind"].items(), *result["by_megapixels"].items()]
    for title, group in groups:
        cells = " ".join(f"{group[name]['mean']:>8.2f} /{group[name]['worst_1_percent']:>6.1f}" for name in names)
        lines.append(f"{title:>12} {cells}")
    lines.append(f"{'ms a MP':>12} " + " ".join(f"{result['all'][name]['ms_a_megapixel']:>16.0f}" for name in names))
    return lines


if __name__ == "__main__":
    sys.exit(main())
