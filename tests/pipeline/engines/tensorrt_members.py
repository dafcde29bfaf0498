"""Prints what a TensorRT module has, as JSON: class -> member -> signatures from its docstring ([] for properties).

`python tensorrt_members.py tensorrt_bindings STUBS` makes stand-ins, in the folder STUBS, for the C functions that the
bindings of full TensorRT link to and loads the real bindings over them: enough to look at every class, not to call one.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

_LIBRARIES = ("libnvinfer.so.11", "libnvonnxparser.so.11", "libnvinfer_plugin.so.11")
_FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
_SIGNATURE = re.compile(r"^(?:\d+\. )?(\w+)\((.*)\) -> ", re.MULTILINE)


def make_stubs(folder: Path, compiler: str = "gcc") -> None:
    """Libraries that have the functions' names; each returns 0."""
    source = "".join(f"void *{name}(void) {{ return 0; }}\n" for name in _FUNCTIONS)
    for library in _LIBRARIES:
        subprocess.run(
            [compiler, "-shared", "-fPIC", f"-Wl,-soname,{library}", "-x", "c", "-", "-o", str(folder / library)],
            input=source.encode(),
            check=True,
        )


def members(module: str) -> dict[str, dict[str, list[list[str]]]]:
    loaded = importlib.import_module(module)
    found: dict[str, dict[str, list[list[str]]]] = {"": {"__version__": [[loaded.__version__]]}}
    for name in dir(loaded):
        owner = getattr(loaded, name)
        if isinstance(owner, type):
            found[name] = {member: signatures(getattr(owner, member)) for member in dir(owner)}
    return found


def signatures(member: object) -> list[list[str]]:
    """The names of the parameters without self, one list an overload."""
    if not callable(member):
        return []
    return [
        # Names stand before a colon; what stands in brackets of a type has none.
        [name for name in re.findall(r"(\w+): ", text) if name != "self"]
        for _, text in _SIGNATURE.findall(member.__doc__ or "")
    ]


if __name__ == "__main__":
    if len(sys.argv) > 2:  # again, with the stand-ins where the loader looks
        stubs = Path(sys.argv[2])
        make_stubs(stubs)
        os.environ["LD_LIBRARY_PATH"] = str(stubs)
        os.execv(sys.executable, [sys.executable, __file__, sys.argv[1]])
    print(json.dumps(members(sys.argv[1])))
