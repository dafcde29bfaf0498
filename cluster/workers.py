"""The Ray actor that runs one stage: a thin shell. It returns values and never puts: the driver owns every object."""

from __future__ import annotations

import importlib
import importlib.util
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mattemill.cluster.actions import Passed, Reply
from mattemill.cluster.quick_pickle import Packed, pack, unpack
from mattemill.pipeline.allocator import keep_freed_memory
from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.outcome import Failure
from mattemill.pipeline.stages.stage import Done, Failed, Stage
from mattemill.pipeline.storage.retry import FAULTS


def module_folder(module: str) -> str | None:
    """The folder from which a module is imported here, for workers, whose sys.path is another one."""
    spec = importlib.util.find_spec(module.partition(".")[0])
    if spec is None or spec.origin is None:
        return None  # not a plain module (a namespace package is installed, and found there too)
    where = Path(spec.origin).parent
    return str(where.parent if spec.submodule_search_locations else where)


def store_environment() -> dict[str, str]:
    """Who speaks to which store, as this process has it: on a Ray that was there before, workers do not inherit it."""
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


WireItem = tuple[Any, ...]
"""A stage's input tuple; what lies in payloads is (payload index, position), or a list of such pairs."""


class StageWorker:
    """One process with one stage.

    `start` builds it (and not `__init__`, so that its exception comes back whole); `call` runs a batch.
    """

    def __init__(self) -> None:
        self._stage: Stage | None = None
        self._previews = True
        self._who = f"{socket.gethostname()}:{os.getpid()}"

    def start(
        self,
        module: str,
        folder: str | None,
        name: str,
        config: JobConfig,
        sink: str | None,
        environment: Mapping[str, str],
    ) -> tuple[str, str]:
        """Build the stage with `module.build_stage`. Returns ('node:pid', device).

        folder: where the driver found the module. environment: set before anything else is done.
        """
        os.environ.update(environment)
        import cv2

        if folder is not None and folder not in sys.path:
            sys.path.append(folder)

        cv2.setNumThreads(1)  # one worker, one core: the pools are sized by that
        keep_freed_memory()
        stage: Stage = importlib.import_module(module).build_stage(name, config, sink)
        self._stage = stage
        self._previews = config.previews
        return self._who, stage.device

    def call(self, packed: Packed, *payloads: Packed) -> tuple[Packed, Packed | None]:
        """Run a batch of WireItems. Returns the Reply (small), and the outputs (large; None for the last stage).

        All is packed, see `quick_pickle`; payloads are outputs of other calls.
        """
        stage = self._stage
        if stage is None:
            raise RuntimeError("the worker was called before it was started")
        began, began_core = time.perf_counter(), time.process_time()
        items: list[WireItem] = unpack(packed)
        opened = [unpack(payload) for payload in payloads]
        results = stage([_resolve(item, opened) for item in items])
        if len(results) != len(items):
            raise RuntimeError(f"stage {stage.name} returned {len(results)} results for {len(items)} items")
        last = stage.name == "store"
        replies: list[Passed | Failure] = []
        outputs: list[Any] = []
        n_bytes = 0
        for result in results:
            if isinstance(result, Done):
                output = result.output
                replies.append(Passed(result.facts, result.fan_out, result.held_bytes, output if last else None))
                outputs.append(output)
                n_bytes += payload_bytes(output)
            elif isinstance(result, Failed):
                # Without previews no pixel of a failed photograph leaves this process.
                replies.append(result.failure if self._previews else replace(result.failure, preview=None))
                outputs.append(None)
            else:
                raise RuntimeError(f"stage {stage.name} returned a {type(result).__name__}, not Done or Failed")
        reply = Reply(
            results=replies,
            seconds=time.perf_counter() - began,
            core_seconds=time.process_time() - began_core,
            output_bytes=0 if last else n_bytes,
            worker=self._who,
            device=stage.device,
            store_errors=FAULTS.take() or None,
        )
        return pack(reply), None if last else pack(outputs)


def _resolve(item: WireItem, payloads: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    arguments: list[Any] = []
    for argument in item:
        if type(argument) is tuple:
            argument = payloads[argument[0]][argument[1]]
        elif type(argument) is list:
            argument = [payloads[index][position] for index, position in argument]
        arguments.append(argument)
    return tuple(arguments)


def payload_bytes(value: Any) -> int:
    """Bytes of the arrays and byte strings that a stage's output holds itself: what it takes in the object store."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, bytes | bytearray):
        return len(value)
    if isinstance(value, list | tuple):
        return sum(map(payload_bytes, value))
    # One level deep: this runs for every image, and what lies deeper in our messages is small.
    return sum(
        part.nbytes if isinstance(part, np.ndarray) else len(part)
        for part in (getattr(value, name) for name in getattr(value, "__dataclass_fields__", ()))
        if isinstance(part, np.ndarray | bytes)
    )
