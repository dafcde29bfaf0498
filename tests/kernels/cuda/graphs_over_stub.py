"""Runs mattemill's CUDA graphs with NVIDIA's real bindings over a libcuda that is a stub, and prints what it saw.

`python graphs_over_stub.py FOLDER` makes the stub in FOLDER. It proves that the bindings are called as they want to be
and that their answers are read as they are meant, in success and in failure; it proves nothing of a GPU.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_SOURCE = r"""
#include <stdio.h>
#include <string.h>
static char log_[4096], failing[64];
static int failing_code, capturing, nodes;
const char *stub_log(void) { return log_; }
void stub_reset(const char *name, int code, int n) {
    log_[0] = 0; nodes = n; failing_code = code; snprintf(failing, sizeof failing, "%s", name);
}
int stub_capturing(void) { return capturing; }
static int said(const char *name, unsigned long long a, unsigned long long b) {
    size_t n = strlen(log_);
    snprintf(log_ + n, sizeof log_ - n, "%s(%llx,%llx) ", name, a, b);
    return strcmp(name, failing) ? 0 : failing_code;
}
typedef unsigned long long U;
int cuInit(unsigned flags) { return 0; }
int cuStreamBeginCapture(void *s, int mode) {
    int r = said("cuStreamBeginCapture", (U)s, mode);
    if (r == 0) { if (capturing) return 900; capturing = 1; }
    return r;
}
int cuStreamEndCapture(void *s, void **graph) {
    int r = said("cuStreamEndCapture", (U)s, 0);
    if (!capturing) return 401;
    capturing = 0; *graph = r ? 0 : (void *)0xA;
    return r;
}
int cuGraphGetNodes(void *g, void **n, size_t *count) { *count = nodes; return said("cuGraphGetNodes", (U)g, (U)n); }
int cuGraphInstantiateWithFlags(void **e, void *g, U flags) {
    *e = (void *)0xE; return said("cuGraphInstantiate", (U)g, flags);
}
int cuGraphDestroy(void *g) { return said("cuGraphDestroy", (U)g, 0); }
int cuGraphLaunch(void *e, void *s) { return said("cuGraphLaunch", (U)e, (U)s); }
int cuGraphExecDestroy(void *e) { return said("cuGraphExecDestroy", (U)e, 0); }
#define ENTRY(name) {#name, (void *)name}
static struct { const char *name; void *entry; } table[] = {
    ENTRY(cuInit), ENTRY(cuStreamBeginCapture), ENTRY(cuStreamEndCapture), ENTRY(cuGraphGetNodes),
    ENTRY(cuGraphInstantiateWithFlags), ENTRY(cuGraphDestroy), ENTRY(cuGraphLaunch), ENTRY(cuGraphExecDestroy)};
int cuGetProcAddress_v2(const char *name, void **entry, int version, U flags, int *status) {
    *entry = strcmp(name, "cuGetProcAddress") ? 0 : (void *)cuGetProcAddress_v2;
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(name, table[i].name)) *entry = table[i].entry;
    if (status) *status = *entry ? 0 : 1;
    return *entry ? 0 : 500;
}
int cuGetProcAddress(const char *n, void **e, int v, U f) { return cuGetProcAddress_v2(n, e, v, f, 0); }
"""


def main(folder: Path) -> dict[str, list[str]]:
    """What was called, and what came out, by the name of the scene."""
    from mattemill.kernels.cuda.graphs import CudaGraphs

    stub = ctypes.CDLL(str(folder / "libcuda.so.1"))
    stub.stub_log.restype = ctypes.c_char_p
    graphs = CudaGraphs()

    def quiet() -> None:
        assert not gc.isenabled(), "a collection could free memory of CUDA's within the capture"

    def refuse() -> None:
        raise ValueError("the work's own")

    def whole(work: Callable[[], None]) -> None:
        graph = graphs.record(0x5, work)
        graph.launch(0x6)
        graph.close()
        graph.close()
        graph.launch(0x6)

    seen = {}
    for scene, failing, code, nodes, work in (
        ("right", "", 0, 3, quiet),
        ("empty", "", 0, 0, lambda: None),
        ("the work raises", "", 0, 3, refuse),
        ("the work raises and invalidates", "cuStreamEndCapture", 901, 3, refuse),
        ("begin", "cuStreamBeginCapture", 1, 3, lambda: None),
        ("end", "cuStreamEndCapture", 901, 3, lambda: None),
        ("instantiate", "cuGraphInstantiate", 2, 3, lambda: None),
        ("launch", "cuGraphLaunch", 700, 3, lambda: None),
        ("close", "cuGraphExecDestroy", 400, 3, lambda: None),
    ):
        stub.stub_reset(failing.encode(), code, nodes)
        raised = "nothing"
        try:
            whole(work)
        except Exception as error:
            raised = f"{type(error).__name__}: {error}"
        assert stub.stub_capturing() == 0, scene
        assert gc.isenabled(), scene
        seen[scene] = [*stub.stub_log().decode().split(), raised]
    return seen


def make_stub(folder: Path) -> None:
    """libcuda.so.1 in a folder. Needs gcc."""
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-x", "c", "-", "-o", str(folder / "libcuda.so.1")],
        input=_SOURCE.encode(),
        check=True,
    )


if __name__ == "__main__":
    if len(sys.argv) == 2:  # again, with the stub where the loader looks
        make_stub(Path(sys.argv[1]))
        os.environ["LD_LIBRARY_PATH"] = sys.argv[1]
        os.execv(sys.executable, [sys.executable, __file__, sys.argv[1], "run"])
    print(json.dumps(main(Path(sys.argv[1]))))
