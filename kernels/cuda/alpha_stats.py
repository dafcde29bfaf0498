"""Figures of an alpha on the device: some bytes come back instead of a photograph's worth."""

from __future__ import annotations

import numpy as np

from mattemill.kernels.cuda.device import Device, DeviceArray, blocks, check

_ROWS_AT_ONCE = 16  # each block goes over every 16th row or so, so that few atomic additions are made


def alpha_stats(device: Device, alpha: DeviceArray) -> list[dict[str, float]]:
    """For each image what `mattemill.kernels.alpha_stats.alpha_stats` says, to within 1e-5.

    alpha: float32 (N, H, W) contiguous, or one (H, W), which may be a view; in 0..1.
    """
    check("alpha_stats", alpha, np.float32, 2, 3)
    height, width = alpha.shape[-2:]
    images = alpha.shape[0] if len(alpha.shape) == 3 else 1
    row_bytes = alpha.row_bytes if len(alpha.shape) == 2 else width * 4
    sums, counts = device.zeros((images, 2), np.float64), device.zeros((images, 4), np.int32)
    grid = (blocks(width, 1024), blocks(height, _ROWS_AT_ONCE), images)
    device.launch("alpha_sums", grid, (256, 1, 1), alpha, row_bytes, height * row_bytes, sums, counts, height, width)
    totals, found = device.download(sums), device.download(counts)
    edge = 2 * width + 2 * max(0, height - 2)
    pixels = height * width
    out = []
    for (area, certain), (subject, sure, frame, peak) in zip(totals.tolist(), found.tolist(), strict=True):
        out.append(
            {
                "area": area / pixels,
                "soft_share": (subject - sure) / pixels,
                "soft_of_subject": (subject - sure) / subject if subject else 0.0,
                "certainty": certain / subject if subject else 0.0,
                "border_contact": frame / edge,
                "peak": float(np.int32(peak).view(np.float32)),
            }
        )
    return out
