"""The matting network: local colour lines, found at half of the size, drawn at full size.

What a matte needs at full resolution is the photograph itself. So the network does not paint alpha: at half of the
size it predicts, for every pixel, an affine function of the colour (the colour line model of Levin, Lischinski, Weiss:
A Closed-Form Solution to Natural Image Matting, TPAMI 2008), which is enlarged and applied to the full photograph, as
Gharbi et al. (Deep Bilateral Learning, 2017) and Wu et al. (Fast End-to-End Trainable Guided Filter, CVPR 2018) do.
It starts from the closed-form matte, and sees a guess beside it: foreground and background colours spread into the
unknown band by normalised convolution (Knutsson, Westin 1993) over a pyramid, and the line through the two. All of it
is convolution, pooling, resizing and arithmetic, so it exports to ONNX with dynamic size and has no operator that
TensorRT lacks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = 7
"""Of the input: red, green, blue in 0..1; surely foreground, surely background, each 0 or 1; the soft mask (0.5 where
there is none) and the closed-form matte, both in 0..1."""

MULTIPLE = 32
"""Height and width of the input are multiples of this."""

_SPREAD = 0.02  # weight of the coarser level where a finer one has seen nothing; a cell that is all known weighs 1
_LINE = 0.01  # squared distance of the two colours (0..1) at which their line begins to count


class MattingNetwork(nn.Module):
    """Alpha in the unknown band of a trimap, from the photograph, the trimap and a prior.

    Input float32 (N, 7, H, W), see `CHANNELS`; H and W multiples of 32. Output float32 (N, 1, H, W), nominally 0..1 but
    not clipped, so that training sees how far off it is: clip it. Known pixels come out close to 0 and 1, not exactly.
    widths: channels at 1/4, 1/8, 1/16 and 1/32 of the size.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (24, 48, 96, 256), head: int = 8) -> None:
        super().__init__()
        quarter, eighth, sixteenth, least = widths
        self.stem = nn.Conv2d(CHANNELS, quarter, 4, stride=4)
        self.stem_guess = nn.Conv2d(12, quarter, 1)
        self.stem_line = nn.Conv2d(3, quarter, 2, stride=2)
        self.at_quarter = _Block(quarter)
        self.to_eighth = nn.Conv2d(quarter, eighth, 2, stride=2)
        self.at_eighth = _Block(eighth)
        self.to_sixteenth = nn.Conv2d(eighth, sixteenth, 2, stride=2)
        self.at_sixteenth = _Block(sixteenth)
        self.to_least = nn.Conv2d(sixteenth, least, 2, stride=2)
        # Most of the parameters are here, where a pixel is a thousand of the photograph's and costs next to nothing.
        self.at_least = nn.Sequential(_Block(least), _Block(least), _Block(least))
        self.up_sixteenth = _Up(least, sixteenth)
        self.up_eighth = _Up(sixteenth, eighth)
        self.up_quarter = _Up(eighth, quarter)
        self.to_half = nn.Sequential(nn.Conv2d(quarter, 4 * head, 1), nn.PixelShuffle(2))
        self.head = nn.Sequential(
            nn.Conv2d(head + CHANNELS + 3, head, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(head, 6, 3, padding=1),
        )
        last = self.head[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        # At first: the closed-form matte, and nothing else.
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 1.0]))

    def forward(self, given: Tensor) -> Tensor:
        """See the class."""
        return apply_lines(self.lines(given), given)

    def lines(self, given: Tensor) -> Tensor:
        """The affine functions, float32 (N, 5, H/2, W/2): slopes of red, green and blue, offset, weight of the prior.

        This is what the ONNX file computes: the last step is left to whoever has the full photograph.
        """
        half = functional.avg_pool2d(given, 2)
        quarter = functional.avg_pool2d(half, 2)
        front, back = spread_colours(given)
        slope, offset, clarity = colour_line(front, back)
        slope_half = functional.interpolate(slope, scale_factor=2.0, mode="nearest")
        offset_half = functional.interpolate(offset, scale_factor=2.0, mode="nearest")
        clarity_half = functional.interpolate(clarity, scale_factor=2.0, mode="nearest")
        line_half = (slope_half * half[:, 0:3]).sum(1, keepdim=True) + offset_half
        line_half = line_half.clamp(-0.5, 1.5)
        guess = torch.cat([front, back, clarity, quarter[:, 0:5]], 1)
        features = self.stem(given) + self.stem_guess(guess) + self.stem_line(torch.cat([line_half, half[:, 3:5]], 1))
        at_quarter = self.at_quarter(features)
        at_eighth = self.at_eighth(self.to_eighth(at_quarter))
        at_sixteenth = self.at_sixteenth(self.to_sixteenth(at_eighth))
        least = self.at_least(self.to_least(at_sixteenth))
        features = self.up_sixteenth(least, at_sixteenth)
        features = self.up_eighth(features, at_eighth)
        features = self.up_quarter(features, at_quarter)
        apart = half[:, 6:7] - half[:, 5:6]
        lines = self.head(torch.cat([self.to_half(features), half, line_half, clarity_half, apart], 1))
        share, trust = lines[:, 4:5], lines[:, 5:6]
        slopes = lines[:, 0:3] + share * slope_half
        offsets = lines[:, 3:4] + share * offset_half
        return torch.cat([slopes, offsets, trust], 1)


def apply_lines(lines: Tensor, given: Tensor) -> Tensor:
    """alpha (N, 1, H, W), not clipped, of lines (N, 5, H/2, W/2) on the full photograph and the prior."""
    full = functional.interpolate(lines, scale_factor=2.0, mode="bilinear", align_corners=False)
    return (full[:, 0:3] * given[:, 0:3]).sum(1, keepdim=True) + full[:, 3:4] + full[:, 4:5] * given[:, 6:7]


def spread_colours(given: Tensor) -> tuple[Tensor, Tensor]:
    """Known foreground and background colours, spread over the whole tile: two (N, 3, H/4, W/4), 0..1.

    A pyramid of sums of known colours and of counts; from the coarsest level on, each level keeps of the one above it
    only as much as it has not seen itself.
    """
    rgb = given[:, 0:3]
    front, back = given[:, 3:4], given[:, 4:5]
    sums = functional.avg_pool2d(torch.cat([rgb * front, front, rgb * back, back], 1), 4)
    levels = [sums]
    for _ in range(3):
        levels.append(functional.avg_pool2d(levels[-1], 2))
    whole = levels[-1].mean((2, 3), keepdim=True)
    mean = 0.5 * (whole[:, 0:3] + whole[:, 4:7]) + 1e-4
    weight = 0.5 * (whole[:, 3:4] + whole[:, 7:8]) + 2e-4
    anywhere = mean / weight
    colours = [(whole[:, at : at + 3] + 1e-3 * anywhere) / (whole[:, at + 3 : at + 4] + 1e-3) for at in (0, 4)]
    spread = [colour.expand(-1, -1, levels[-1].shape[2], levels[-1].shape[3]) for colour in colours]
    for number, level in enumerate(reversed(levels)):
        near = functional.avg_pool2d(level, 3, stride=1, padding=1)
        if number > 0:
            spread = [functional.interpolate(s, scale_factor=2.0, mode="bilinear", align_corners=False) for s in spread]
        spread = [
            (near[:, at : at + 3] + _SPREAD * s) / (near[:, at + 3 : at + 4] + _SPREAD)
            for at, s in zip((0, 4), spread, strict=True)
        ]
    return spread[0], spread[1]


def colour_line(front: Tensor, back: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """alpha = slope . colour + offset on the line from `back` to `front`: (N, 3, h, w), (N, 1, h, w), and clarity.

    clarity: (N, 1, h, w) in 0..1, how far apart the two colours are.
    """
    along = front - back
    length = (along * along).sum(1, keepdim=True)
    slope = along / (length + _LINE)
    offset = -(slope * back).sum(1, keepdim=True)
    return slope, offset, length / (length + _LINE)


class _Block(nn.Module):
    """Depthwise 5x5, then two pointwise convolutions around a ReLU, added to what came in (ConvNeXt's block)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 5, padding=2, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, 2 * width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * width, width, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = features + self.body(features)
        return out


class _Up(nn.Module):
    """To twice the size, joined with what the way down had there."""

    def __init__(self, width: int, to: int) -> None:
        super().__init__()
        self.enlarge = nn.Sequential(nn.Conv2d(width, 4 * to, 1), nn.PixelShuffle(2))
        self.block = _Block(to)

    def forward(self, features: Tensor, beside: Tensor) -> Tensor:
        out: Tensor = self.block(self.enlarge(features) + beside)
        return out
