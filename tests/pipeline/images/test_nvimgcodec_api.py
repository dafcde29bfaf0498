"""Everything of nvImageCodec that the code touches is there, in the package that is installed.

mypy proves that the code touches nothing beside `nvimgcodec_api`; here that is compared with the real module, as
tests/pipeline/engines/test_tensorrt_api.py does for TensorRT. The package loads without a GPU.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mattemill.pipeline.images import nvimgcodec_api as api

_ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def real() -> Any:
    return pytest.importorskip(
        api.MODULE, reason=f"needs nvImageCodec, which is not installed: {api.INSTALL}", exc_type=ImportError
    )


def overloads(function: Any) -> list[list[str]]:
    """The names of the parameters without self, one list an overload, from a docstring of pybind11."""
    signatures = re.findall(r"^(?:\d+\. )?\w+\((.*)\) -> ", function.__doc__ or "", re.MULTILINE)
    # Names stand before a colon; so does what stands in the angle brackets of a default.
    plain = [re.sub(r"<[^<>]*>", "", text) for text in signatures]
    return [[name for name in re.findall(r"(\w+): ", text) if name != "self"] for text in plain]


def lacking(real: Any) -> list[str]:
    """What the Protocols and tables name and the module does not have, or takes other parameters for."""
    wrong = []
    for protocol in (api.Image, api.Decoder):
        for name in sorted(name for name in vars(protocol) if _is_ours(protocol, name)):
            if not hasattr(getattr(real, protocol.__name__), name):
                wrong.append(f"{protocol.__name__}.{name}")
    wrong += [name for name in vars(api.NvImgCodec) if name[0].isupper() and not hasattr(real, name)]
    wrong += [name for name in api.NvImgCodec.__annotations__ if not hasattr(real, name)]
    for owner, names in api.MEMBERS.items():
        wrong += [f"{owner}.{name}" for name in names if not hasattr(getattr(real, owner), name)]
    for owner, names in api.ARGUMENTS.items():
        if not any(set(names) <= set(found) for found in overloads(getattr(real, owner).__init__)):
            wrong.append(f"{owner}{names}")
    return wrong


def _is_ours(protocol: type, name: str) -> bool:
    return isinstance(vars(protocol)[name], property) or (callable(vars(protocol)[name]) and name[0] != "_")


def test_every_name_and_every_argument_that_we_touch_is_there(real: Any) -> None:
    assert lacking(real) == []


def test_many_files_are_decoded_by_one_call_with_our_arguments(real: Any) -> None:
    assert any({"srcs", "params", "cuda_stream"} <= set(names) for names in overloads(real.Decoder.decode))
    assert ":fancy_upsampling=1" in real.Decoder.__init__.__doc__


def test_the_gate_sees_what_is_not_there(real: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(api.MEMBERS, "ColorSpec", ("SRGB", "SRGBA"))
    monkeypatch.setitem(api.ARGUMENTS, "Backend", ("backend_kind", "mood"))
    assert lacking(real) == ["ColorSpec.SRGBA", "Backend('backend_kind', 'mood')"]


def test_only_one_module_imports_nvimagecodec() -> None:
    files = [path for folder in ("pipeline", "cluster", "kernels") for path in (_ROOT / folder).rglob("*.py")]
    assert [path.name for path in files if "import_module(MODULE)" in path.read_text()] == ["nvimgcodec_api.py"]
    assert [path.name for path in files if re.search(r"(import|from) nvidia", path.read_text())] == []


def test_what_is_missing_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "module_state", lambda name: ("missing", "not installed"))
    monkeypatch.setattr(api, "nvjpeg_state", lambda: ("missing", "not installed"))
    assert re.match(
        r"nvidia.nvimgcodec is missing and nvJPEG is missing: pip install 'mattemill\[nvim", api.why_no_nvimgcodec()
    )
    monkeypatch.setattr(api, "module_state", lambda name: ("ok", ""))
    assert api.why_no_nvimgcodec().startswith("nvJPEG is missing: ")
    monkeypatch.setattr(api, "nvjpeg_state", lambda: ("ok", "13.3"))
    assert api.why_no_nvimgcodec() == ""
