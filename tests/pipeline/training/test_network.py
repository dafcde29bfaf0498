"""The matting network: its starting point, its sizes, and what it becomes as ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [train]: torch is missing")
pytest.importorskip("onnx", reason="training needs the extra [train]: onnx is missing")

from mattemill.pipeline.training.export import INPUT, OUTPUT, to_onnx  # noqa: E402
from mattemill.pipeline.training.network import (  # noqa: E402
    CHANNELS,
    MattingNetwork,
    apply_lines,
    spread_colours,
)


def two_colours(size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """(7, S, S) of a soft vertical edge between two colours, and its alpha; the mask says nothing."""
    alpha = np.clip((np.arange(size) - size / 2 + 8) / 16, 0, 1)[None].repeat(size, axis=0)
    front, back = np.array([0.9, 0.3, 0.2]), np.array([0.1, 0.4, 0.8])
    photo = alpha[None] * front[:, None, None] + (1 - alpha[None]) * back[:, None, None]
    nothing = np.full_like(alpha, 0.5)
    given = np.concatenate([photo, [alpha == 1, alpha == 0, nothing, alpha]]).astype(np.float32)
    return given, alpha.astype(np.float32)


def test_an_untrained_network_passes_the_closed_form_matte_on() -> None:
    given, alpha = two_colours()
    found = MattingNetwork().eval()(torch.from_numpy(given)[None])[0, 0].detach().numpy()
    assert np.abs(found - alpha).max() < 1e-5


def test_known_colours_spread_into_the_band() -> None:
    given, _ = two_colours()
    front, back = spread_colours(torch.from_numpy(given)[None])
    assert torch.allclose(front[0, :, 8, 8], torch.tensor([0.9, 0.3, 0.2]), atol=0.02)
    assert torch.allclose(back[0, :, 8, 8], torch.tensor([0.1, 0.4, 0.8]), atol=0.02)


def test_its_size_is_between_one_and_five_million_parameters() -> None:
    count = sum(parameter.numel() for parameter in MattingNetwork().parameters())
    assert 1_000_000 <= count <= 5_000_000


def test_the_onnx_file_gives_the_same_at_other_sizes_and_holds_no_operator_that_tensorrt_lacks(tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    torch.manual_seed(0)
    network = MattingNetwork().eval()
    torch.nn.init.normal_(network.head[-1].weight, std=0.05)
    data = to_onnx(network)
    assert len(data) < 12_000_000
    operators = {node.op_type for node in onnx.load_from_string(data).graph.node}
    assert not operators & {"DeformConv", "NonMaxSuppression", "NonZero", "Unique", "Loop", "If"}
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for shape in ((1, 64, 64), (2, 96, 160), (1, 32, 256)):
        given = np.random.default_rng(1).random((shape[0], CHANNELS, *shape[1:]), np.float32)
        (lines,) = session.run([OUTPUT], {INPUT: given})
        with torch.no_grad():
            wanted = network.lines(torch.from_numpy(given)).numpy()
        assert lines.shape == (shape[0], 5, shape[1] // 2, shape[2] // 2)
        assert np.abs(lines - wanted).max() < 0.02  # the weights are rounded to half precision


def test_lines_at_half_size_are_drawn_at_full_size() -> None:
    given = torch.rand(1, CHANNELS, 32, 32)
    lines = torch.zeros(1, 5, 16, 16)
    lines[:, 3] = 0.25
    lines[:, 4] = 0.5
    assert torch.allclose(apply_lines(lines, given), 0.25 + 0.5 * given[:, 6:7])
