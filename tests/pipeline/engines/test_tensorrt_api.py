"""Everything of TensorRT that the code touches is there, in the bindings of TensorRT 11.4 and in TensorRT-RTX.

mypy proves that the code touches nothing beside `tensorrt_api`; here that is compared with the real modules. Those of
full TensorRT load without its libraries: see tensorrt_members.py.
"""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tensorrt_members import members

from mattemill.pipeline.engines import tensorrt_api
from mattemill.pipeline.engines.tensorrt_api import MEMBERS, TensorRt, import_tensorrt, member
from mattemill.pipeline.errors import EngineError

_ROOT = Path(__file__).resolve().parents[3]
_PROTOCOLS = {
    name: protocol
    for name, protocol in vars(tensorrt_api).items()
    if inspect.isclass(protocol) and getattr(protocol, "_is_protocol", False) and name not in ("Protocol", "TensorRt")
}

Members = dict[str, dict[str, list[list[str]]]]


@pytest.fixture(scope="module", params=["tensorrt 11.4", "tensorrt_rtx"])
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Members:
    if request.param == "tensorrt_rtx":
        pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx, which is not installed")
        return members("tensorrt_rtx")
    if find_spec("tensorrt_bindings") is None:
        pytest.skip("needs the bindings of TensorRT (pip install --no-deps tensorrt-cu13-bindings), not installed")
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, to make the stand-ins that TensorRT's bindings load over")
    script = Path(__file__).with_name("tensorrt_members.py")
    stubs = tmp_path_factory.mktemp("stubs")
    done = subprocess.run(
        [sys.executable, str(script), "tensorrt_bindings", str(stubs)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    found: Members = json.loads(done.stdout)
    assert found[""]["__version__"][0][0].startswith("11.4."), "the gate is for 11.4"
    return found


def lacking(protocols: dict[str, Any], there: Members) -> list[str]:
    """What the Protocols have and the module does not, or takes other parameters for."""
    wrong = []
    for name, protocol in protocols.items():
        for attribute in _own(protocol):
            if name not in there:
                wrong.append(name)
            elif attribute not in there[name]:
                wrong.append(f"{name}.{attribute}")
            elif inspect.isfunction(vars(protocol).get(attribute)) and attribute[:2] != "__":
                ours = [p for p in inspect.signature(vars(protocol)[attribute]).parameters if p != "self"]
                overloads = there[name][attribute]
                if not any(ours == theirs[: len(ours)] for theirs in overloads):
                    wrong.append(f"{name}.{attribute}({', '.join(ours)}), there is {overloads}")
    return wrong


def _own(protocol: Any) -> list[str]:
    ignored = {"__module__", "__doc__", "__dict__", "__weakref__", "__parameters__", "__init__", "__subclasshook__"}
    names = {*vars(protocol), *vars(protocol).get("__annotations__", {})} - ignored
    return sorted(
        n
        for n in names
        if not n.startswith(("_is_", "_abc", "__annot", "__abstract", "__protocol", "__non_callable"))
        and not n.startswith(("__static", "__first"))
    )


def test_the_gate_looks_at_every_protocol() -> None:
    assert {"Builder", "IBuilderConfig", "IExecutionContext", "ICudaEngine", "Runtime"} <= _PROTOCOLS.keys()
    assert sum(len(_own(protocol)) for protocol in _PROTOCOLS.values()) > 35


def test_every_method_and_property_that_we_touch_is_there_with_our_parameters(real: Members) -> None:
    assert lacking(_PROTOCOLS, real) == []


def test_every_member_of_an_open_class_that_we_touch_is_there(real: Members) -> None:
    wrong = [f"{owner}.{name}" for owner, names in MEMBERS.items() for name in names if name not in real.get(owner, ())]
    assert wrong == []


def test_what_the_module_must_have_is_there_and_is_made_with_our_arguments(real: Members) -> None:
    classes = [name for name in vars(TensorRt) if name[0].isupper()]
    assert {"Builder", "Runtime", "ILogger"} <= set(classes)
    assert [name for name in classes if name not in real] == []
    arguments = {"Builder": ["logger"], "Runtime": ["logger"], "OnnxParser": ["network", "logger"]}
    assert {name: real[name]["__init__"][0] for name in arguments} == arguments


def test_the_gate_sees_a_name_that_is_not_there_and_a_parameter_of_another_name(real: Members) -> None:
    class IExecutionContext:
        def execute_async_v9(self, stream_handle: int) -> bool: ...
        def execute_async_v3(self, stream: int) -> bool: ...

    class Oracle:
        def ask(self) -> None: ...

    wrong = lacking({"IExecutionContext": IExecutionContext, "Oracle": Oracle}, real)
    assert [text.split(",")[0] for text in wrong] == [
        "IExecutionContext.execute_async_v3(stream)",
        "IExecutionContext.execute_async_v9",
        "Oracle",
    ]


def test_a_member_that_is_not_listed_cannot_be_asked_for() -> None:
    with pytest.raises(KeyError, match="nothing proves"):
        member(None, "BuilderFlag", "FP16")  # type: ignore[arg-type]


def test_only_one_module_imports_tensorrt() -> None:
    files = [path for folder in ("pipeline", "cluster", "kernels") for path in (_ROOT / folder).rglob("*.py")]
    importers = [path.name for path in files if "import_module(backend)" in path.read_text()]
    named = [path.name for path in files if "import tensorrt" in path.read_text()]
    assert (importers, named) == (["tensorrt_api.py"], [])


def test_a_backend_that_is_not_installed_is_an_error_that_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineError, match=r"backend tensorrt is not installed .*pip install 'mattemill\[gpu\]'"):
        import_tensorrt("tensorrt")
