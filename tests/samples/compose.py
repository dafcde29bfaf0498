"""Makes the catalogue-like samples in photos/catalogue/: run `python tests/samples/compose.py` from the repository.

Two kinds, all 1200x1600 on a studio sweep with soft shadows:
- a subject of one of the other samples, cut out by mattemill itself and laid on the sweep;
- an article that never was: a mug and a white vase, ray-marched from signed distance functions
  (Hart, Sphere Tracing, 1996; soft shadows after Quilez, 2010), so that there are holes and white on white. Their
  exact alphas go to alpha/: the ground truth that the repository may ship.
Deterministic but for the network's last digits; the results are committed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.cutter import Cutter

Plane = npt.NDArray[np.float32]

PHOTOS = Path(__file__).parent / "photos"
ALPHAS = Path(__file__).parent / "alpha"
WIDTH, HEIGHT = 1200, 1600
CAMERA = np.array([0.0, 0.95, 5.2], np.float32)
SUBPIXELS = ((0.25, 0.25), (0.75, 0.75), (0.75, 0.25), (0.25, 0.75))


def sweep(tone: tuple[float, float, float], fall: float = 0.10) -> Plane:
    """A seamless backdrop, float32 (H, W, 3) in 0..1: lit from above left, floor and wall without an edge."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    y, x = y / HEIGHT, x / WIDTH
    bend = 1.0 / (1.0 + np.exp(-(y - 0.66) * 14.0))  # wall above, floor below
    light = 1.0 - fall * ((x - 0.42) ** 2 + 0.7 * (y - 0.45) ** 2) * 2.2 - 0.035 * bend
    return np.clip(light[..., None] * np.array(tone, np.float32), 0, 1)


def blurred(mask: Plane, sigma: float) -> Plane:
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), np.float32)


def finish(picture: Plane, seed: int) -> Image.Image:
    """Grain of a sensor at low ISO, then 8 bits."""
    grain = np.random.default_rng(seed).normal(0.0, 0.006, picture.shape[:2])[..., None]
    return Image.fromarray((np.clip(picture + grain, 0, 1) * 255 + 0.5).astype(np.uint8))


def laid_down(source: str, side: int, tone: tuple[float, float, float], seed: int) -> Image.Image:
    """The subject of another sample, seen from above, on the sweep. side: pixels of its longer side."""
    cut = Cutter(JobConfig(output="cutout")).cut((PHOTOS / source).read_bytes()).pixels
    rows, columns = np.nonzero(cut[..., 3] > 20)
    cut = cut[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    scale = side / max(cut.shape[:2])
    size = (round(cut.shape[1] * scale), round(cut.shape[0] * scale))
    rgba = np.asarray(cv2.resize(cut, size, interpolation=cv2.INTER_LANCZOS4), np.float32) / 255
    alpha = np.zeros((HEIGHT, WIDTH), np.float32)
    colour = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    top, left = (HEIGHT - size[1]) // 2 + 60, (WIDTH - size[0]) // 2
    alpha[top : top + size[1], left : left + size[0]] = rgba[..., 3]
    colour[top : top + size[1], left : left + size[0]] = rgba[..., :3]
    # A subject lying flat: a tight dark contact, and a wide soft shadow away from the light.
    contact = blurred(np.roll(alpha, (10, 6), (0, 1)), 9)
    wide = blurred(np.roll(alpha, (55, 38), (0, 1)), 48)
    shade = 1.0 - np.maximum(0.42 * contact, 0.34 * wide)
    ground = sweep(tone) * shade[..., None]
    return finish(colour * alpha[..., None] + ground * (1.0 - alpha[..., None]), seed)


# ---- rendered articles: distances in units of about 10 cm; x to the right, y up, z towards the camera ----

Distance = Callable[[Plane], Plane]


def round_union(a: Plane, b: Plane, r: float) -> Plane:
    """Union of two distances with a fillet of radius r (Quilez' polynomial smooth minimum)."""
    h = np.clip(0.5 + 0.5 * (b - a) / r, 0, 1)
    return b + (a - b) * h - r * h * (1 - h)


def mug(p: Plane) -> Plane:
    """A mug: a hollow cylinder with rounded rims, and a handle that one can see through."""
    q = np.hypot(p[:, 0], p[:, 2])
    half, radius, wall = 0.62, 0.52, 0.045
    body = np.hypot(np.maximum(q - radius + 0.05, 0), np.maximum(np.abs(p[:, 1]) - half + 0.05, 0)) - 0.05
    inner = np.maximum(q - (radius - wall * 2), -(p[:, 1] + half - 0.1))
    shell = np.maximum(body, -inner)
    u = np.hypot((p[:, 0] - radius - 0.02) / 0.78, p[:, 1]) - 0.34
    handle = (np.hypot(u, p[:, 2] / 1.5) - 0.062) * 0.8
    handle = np.maximum(handle, -(q - radius + wall))
    return round_union(shell, handle, 0.05).astype(np.float32)


def vase(p: Plane) -> Plane:
    """A bellied vase with a narrow neck: a profile turned about the y axis."""
    q, y = np.hypot(p[:, 0], p[:, 2]), p[:, 1]
    t = np.clip((y + 0.9) / 1.8, 0, 1)
    profile = 0.26 + 0.33 * np.exp(-(((t - 0.33) / 0.22) ** 2)) - 0.10 * np.exp(-(((t - 0.80) / 0.11) ** 2)) + 0.02 * t
    outer = np.hypot(np.maximum(q - profile, 0), np.maximum(np.abs(y) - 0.9, 0))
    inside = np.maximum(q - profile, np.abs(y) - 0.9)
    solid = np.where(inside < 0, inside, outer) - 0.03
    hollow = np.maximum(q - profile + 0.045, 0.2 - y)
    return (np.maximum(solid, -hollow) * 0.55).astype(np.float32)  # 0.55: the profile's slope bends the distance


def rendered(
    article: Distance, floor: float, albedo: tuple[float, float, float], tone: tuple[float, float, float], seed: int
) -> Image.Image:
    """The article on the sweep with its shadow, at twice the size for clean edges, then halved."""
    shades = [
        shade_rays(article, floor, camera_rays(dx, dy), albedo, sweep(tone).reshape(-1, 3)) for dx, dy in SUBPIXELS
    ]
    return finish(np.mean(shades, axis=0).reshape(HEIGHT, WIDTH, 3).astype(np.float32), seed)


def coverage(article: Distance) -> Image.Image:
    """The exact alpha of a rendered article, 8 bits: the share of the same rays that hit it."""
    hits = [march(article, camera_rays(dx, dy))[0] for dx, dy in SUBPIXELS]
    alpha = np.mean(hits, axis=0, dtype=np.float64).reshape(HEIGHT, WIDTH)
    return Image.fromarray(np.rint(alpha * 255).astype(np.uint8))


def camera_rays(dx: float, dy: float) -> Plane:
    """Unit directions, float32 (H * W, 3), through (dx, dy) within each pixel."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    u, v = (x + dx) / WIDTH * 2 - 1, 1 - (y + dy) / HEIGHT * 2
    target = np.array([0.06, -0.02, 0.0], np.float32)
    ahead = (target - CAMERA) / np.linalg.norm(target - CAMERA)
    right = np.cross(ahead, (0, 1, 0))
    right /= np.linalg.norm(right)
    up = np.cross(right, ahead)
    rays = ahead + 0.235 * u[..., None] * right + 0.235 * HEIGHT / WIDTH * v[..., None] * up
    return (rays / np.linalg.norm(rays, axis=-1, keepdims=True)).reshape(-1, 3).astype(np.float32)


def march(article: Distance, rays: Plane) -> tuple[npt.NDArray[np.bool_], Plane]:
    """Which rays hit the article, bool (N,), and how far each has gone, float32 (N,)."""
    far = np.full(len(rays), 3.4, np.float32)
    hit = np.zeros(len(rays), bool)
    going = np.arange(len(rays))
    for _ in range(110):
        d = article(CAMERA + rays[going] * far[going, None])
        hit[going[d < 6e-4]] = True
        far[going] += d
        going = going[(d >= 6e-4) & (far[going] < 7.5)]
        if not len(going):
            break
    return hit, far


def shade_rays(
    article: Distance, floor: float, rays: Plane, albedo: tuple[float, float, float], backdrop: Plane
) -> Plane:
    """Colour of each ray, float32 (N, 3): the article lit by a large lamp and a fill, or the sweep with its shadow."""
    camera = CAMERA
    hit, far = march(article, rays)
    light = np.array([-0.55, 0.75, 0.50], np.float32)
    light /= np.linalg.norm(light)
    out = backdrop.copy()

    down = rays[:, 1] < -1e-4
    to_floor = np.where(down, (floor - camera[1]) / np.minimum(rays[:, 1], -1e-4), 1e9)
    near = np.nonzero(~hit & down & (to_floor < 9.0))[0]
    ground = (camera + rays[near] * to_floor[near, None]).astype(np.float32)
    cast = soft_shadow(article, ground, light, 5.0)
    close = np.clip(article(ground + np.array([0, 0.05, 0], np.float32)) / 0.35, 0, 1)
    out[near] *= (0.70 + 0.30 * cast)[:, None] * (0.62 + 0.38 * np.sqrt(close))[:, None]

    who = np.nonzero(hit)[0]
    point = (camera + rays[who] * far[who, None]).astype(np.float32)
    e = 1.5e-3
    normal = np.stack(
        [article(point + e * axis) - article(point - e * axis) for axis in np.eye(3, dtype=np.float32)], axis=1
    )
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    lit = np.clip(normal @ light, 0, 1) * soft_shadow(article, point + 0.02 * normal, light, 9.0)
    sky = 0.55 + 0.45 * normal[:, 1]
    bounce = np.clip(-normal[:, 1], 0, 1) * 0.25 + np.clip(normal @ np.array([0.9, 0.1, 0.4], np.float32), 0, 1) * 0.22
    half = light - rays[who]
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    gloss = np.clip(np.sum(normal * half, axis=1), 0, 1) ** 70 * 0.45 * (lit > 0)
    rim = (1 - np.clip(-np.sum(normal * rays[who], axis=1), 0, 1)) ** 4 * 0.22
    inside = np.clip(article(point + 0.12 * normal) / 0.12, 0.25, 1)  # ambient occlusion
    tint = np.array(albedo, np.float32)
    # The power lifts the shaded side as the curve of a camera does.
    shade = (0.66 * lit + (0.46 * sky + bounce) * inside) ** 0.62
    out[who] = tint * shade[:, None] + (gloss + rim)[:, None] * 0.8
    return np.clip(out, 0, 1)


def soft_shadow(article: Distance, points: Plane, light: Plane, sharpness: float) -> Plane:
    """0 (dark) .. 1 (lit) at each point."""
    lit = np.ones(len(points), np.float32)
    t = np.full(len(points), 0.02, np.float32)
    for _ in range(28):
        d = article(points + light * t[:, None])
        lit = np.minimum(lit, np.clip(0.5 + 0.5 * sharpness * d / t, 0, 1))
        t += np.clip(d, 0.025, 0.25)
    return lit * lit * (3 - 2 * lit)


def main() -> int:
    folder = PHOTOS / "catalogue"
    folder.mkdir(exist_ok=True)
    makers: dict[str, Callable[[], Image.Image]] = {
        "cup-on-white.jpg": lambda: laid_down("coffee.webp", 860, (0.965, 0.965, 0.96), 1),
        "flower-on-grey.jpg": lambda: laid_down("flower-rotated.jpg", 780, (0.74, 0.75, 0.77), 2),
        "mug.jpg": lambda: rendered(mug, -0.62, (0.13, 0.36, 0.52), (0.93, 0.92, 0.90), 3),
        "white-vase.jpg": lambda: rendered(vase, -0.93, (0.93, 0.92, 0.90), (0.95, 0.95, 0.95), 4),
    }
    truths = {"mug.png": mug, "white-vase.png": vase}
    for name in sys.argv[1:] or (*makers, *truths):
        path = folder / name if name in makers else ALPHAS / name
        path.parent.mkdir(exist_ok=True)
        picture = makers[name]() if name in makers else coverage(truths[name])
        picture.save(path, quality=88, optimize=True)
        print(path, path.stat().st_size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
