"""A peer: what one writes without any of this. Read a file, cut it, write it, next.

    python benchmarks/plain_loop.py FOLDER OUT [--threads N] [--output matte|cutout]

The job's stages behind `Cutter`, in one process. No resume, no failure rows: an exception ends it. The network runs on
N threads; 0 leaves it to ONNX Runtime, as one would who has not read about it: one a core, spinning while they wait.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import onnxruntime

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.cutter import Cutter


def use_threads(threads: int) -> None:
    """Give every network that is loaded from here on so many threads; our engine itself always asks for one."""
    if threads == 1:
        return
    make = onnxruntime.InferenceSession

    def with_threads(path: str, options: onnxruntime.SessionOptions, **more: object) -> onnxruntime.InferenceSession:
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        return make(path, options, **more)

    onnxruntime.InferenceSession = with_threads


def main() -> None:
    """Cut a folder into another."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--output", default="matte")
    arguments = options.parse_args()
    use_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    cutter = Cutter(JobConfig(output=arguments.output, device="cpu", confidence_threshold=0.0))
    for path in sorted(arguments.folder.iterdir()):
        cutting = cutter.cut(path.read_bytes())
        (arguments.out / f"{path.stem}.png").write_bytes(cutting.encoded)


if __name__ == "__main__":
    main()
