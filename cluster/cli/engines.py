"""`mattemill engines build|list|verify|prune`: networks compiled for GPUs, and the cache that holds them."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mattemill.cluster.cli import options, say
from mattemill.pipeline.engines.engine_cache import EngineCache, Entry
from mattemill.pipeline.engines.gpus import find_gpus
from mattemill.pipeline.engines.prune import prunable
from mattemill.pipeline.engines.recipe import BACKENDS, PRECISIONS, Backend
from mattemill.pipeline.engines.tensorrt_api import INSTALL, version_of
from mattemill.pipeline.errors import EngineError, UsageError
from mattemill.pipeline.models.cache import model_path
from mattemill.pipeline.models.card import ByHand
from mattemill.pipeline.models.cards import CARDS, DEFAULT_MODEL, card_of

if TYPE_CHECKING:
    from mattemill.pipeline.engines.builder import BuildProgress

_MATTING = next(card.name for card in CARDS.values() if card.task == "matting")


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "engines",
        help="networks compiled for GPUs: build, list, verify, prune",
        description="TensorRT engines of the networks, and the cache that holds them.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, parser_class=type(parser))
    build = actions.add_parser("build", help="build what is not in the cache, and compare it with ONNX Runtime")
    build.add_argument(
        "names", nargs="*", metavar="NAME", help=f"networks by their cards; default: {DEFAULT_MODEL} {_MATTING}"
    )
    build.add_argument("--backend", choices=BACKENDS, help="tensorrt where it is installed with a GPU, or tensorrt_rtx")
    build.add_argument("--precision", choices=PRECISIONS, default="fp16", help="of the arithmetic (fp16)")
    build.add_argument("--gpu", type=int, default=0, metavar="N", help="the N of cuda:N (0)")
    build.add_argument("--file", type=Path, metavar="ONNX", help="the file of a network that is not in the model cache")
    build.add_argument(
        "--photos",
        type=Path,
        metavar="DIR",
        help="photographs to compare on (three of its own)",
    )
    listing = actions.add_parser("list", help="the engines in the cache")
    verify = actions.add_parser("verify", help="hash the engines against their sidecars")
    prune = actions.add_parser("prune", help="remove engines that are damaged, of another version, or long unused")
    prune.add_argument("--days", type=float, default=60.0, metavar="N", help="not used for so long (60)")
    prune.add_argument("--all", action="store_true", help="remove all engines")
    prune.add_argument("--dry-run", action="store_true", help="say what would go, remove nothing")
    for action, function in (
        (build, build_engines),
        (listing, list_engines),
        (verify, verify_engines),
        (prune, prune_engines),
    ):
        options.add_common(action, json_help="as JSON on stdout")
        action.set_defaults(run=function)


def build_engines(args: argparse.Namespace) -> int:
    """Build the engines that are missing; each is said when it is there."""
    names = args.names or [DEFAULT_MODEL, _MATTING]
    for name in names:
        if name not in CARDS:
            raise UsageError(f"model {name!r} is not known; known are {', '.join(sorted(CARDS))}")
    if args.file is not None and len(names) != 1:
        raise UsageError("--file is the file of one network: name it")
    # Imported here: these bring NumPy and OpenCV, which the other commands do without.
    from mattemill.pipeline.engines.builder import ensure_engine
    from mattemill.pipeline.engines.open_engine import PHOTOGRAPHS

    backend = args.backend or _default_backend()
    cache = EngineCache()
    built = []
    for name in names:
        card = card_of(name)
        if args.file is None and isinstance(card.source, ByHand):
            raise UsageError(f"model {name} is a file of your own: say which with --file")
        entry = ensure_engine(
            card,
            args.file if args.file is not None else model_path(name),
            backend,
            args.precision,
            photos=args.photos if args.photos is not None else PHOTOGRAPHS,
            cache=cache,
            gpu=args.gpu,
            on_progress=BuildTeller(),
        )
        built.append(_entry_json(entry))
        if not args.json:
            print(f"{entry.plan}\n  {_parity_text(entry)}")
    if args.json:
        print(json.dumps(built))
    return 0


def list_engines(args: argparse.Namespace) -> int:
    """Print what the cache holds."""
    cache = EngineCache()
    entries = cache.entries()
    if args.json:
        print(json.dumps([_entry_json(entry) for entry in entries]))
        return 0
    rows = [("network", "precision", "for", "GPU", "size", "built", "against ONNX Runtime")]
    for entry in entries:
        if entry.sidecar is None:
            rows.append((entry.stem, "-", "-", "-", "-", "-", entry.problem or ""))
            continue
        recipe, target = entry.sidecar.recipe, entry.sidecar.target
        built = datetime.fromtimestamp(entry.sidecar.built_at, UTC).strftime("%Y-%m-%d")
        gpu = "any" if target.portable else f"{target.gpu} ({target.compute_capability})"
        size = say.size(entry.sidecar.plan_bytes)
        rows.append(
            (
                recipe.model,
                recipe.precision,
                f"{recipe.backend} {target.version}",
                gpu,
                size,
                built,
                _parity_text(entry),
            )
        )
    print(say.table(rows, indent="") if entries else "no engines yet; `mattemill engines build` builds them")
    print(f"\nengines lie in {cache.folder} (set MATTEMILL_ENGINES to change it)")
    return 0


def verify_engines(args: argparse.Namespace) -> int:
    """Hash every engine; 1 when one is damaged."""
    cache = EngineCache()
    results = []
    for entry in cache.entries():
        problem = cache.problem_of(entry)
        results.append({"engine": str(entry.plan), "ok": problem is None, "problem": problem})
        if not args.json:
            print(f"{entry.stem}: {problem or 'ok'}")
    if args.json:
        print(json.dumps(results))
    elif not results:
        print(f"no engines in {cache.folder}")
    return 0 if all(result["ok"] for result in results) else 1


def prune_engines(args: argparse.Namespace) -> int:
    """Remove what nobody needs; see `prunable`."""
    cache = EngineCache()
    versions = {backend: version for backend in BACKENDS if (version := version_of(backend)) is not None}
    # What is damaged shows only when it is read.
    entries = [
        entry if (problem := cache.problem_of(entry)) is None else Entry(entry.stem, entry.plan, None, problem, 0.0)
        for entry in cache.entries()
    ]
    known = {entry.stem: entry for entry in cache.entries()}
    found = prunable(entries, now=time.time(), versions=versions, unused_days=args.days, everything=args.all)
    results = []
    for going in found:
        removed = not args.dry_run and cache.remove(known[going.entry.stem])
        results.append({"engine": str(going.entry.plan), "why": going.why, "removed": removed})
        if not args.json:
            done = "would go" if args.dry_run else "removed" if removed else "left: a process builds it"
            print(f"{going.entry.stem}: {done}, {going.why}")
    swept = 0 if args.dry_run else cache.sweep()
    if args.json:
        print(json.dumps(results))
    else:
        left = f", and what {say.count(swept, 'killed build')} left" if swept else ""
        print(
            f"{say.count(len(results), 'engine')} of {len(entries)} {'to remove' if args.dry_run else 'removed'}{left}"
        )
    return 0


def _default_backend() -> Backend:
    if version_of("tensorrt") is not None and find_gpus().gpus:
        return "tensorrt"
    if version_of("tensorrt_rtx") is not None:
        return "tensorrt_rtx"
    raise EngineError(
        f"no backend can build engines here. tensorrt: {find_gpus().problem or 'is not installed'}; "
        f"{INSTALL['tensorrt']}. tensorrt_rtx builds without a GPU: {INSTALL['tensorrt_rtx']}"
    )


def _parity_text(entry: Entry) -> str:
    sidecar = entry.sidecar
    if sidecar is None:
        return entry.problem or ""
    if sidecar.parity is None:
        return "not compared yet: it was built without a GPU, and is not loaded before it is"
    found = sidecar.parity
    return f"differs by {found.mean_error:.2g} (allowed {found.tolerance:g}) on {found.inputs} inputs, on {found.gpu}"


def _entry_json(entry: Entry) -> dict[str, Any]:
    sidecar = json.loads(entry.sidecar.dumps()) if entry.sidecar is not None else None
    return {"engine": str(entry.plan), "problem": entry.problem, "used_at": entry.used_at, "sidecar": sidecar}


class BuildTeller:
    """Progress on stderr: one line that is written over on a terminal, one line a step elsewhere."""

    def __init__(self) -> None:
        self._step = ""

    def __call__(self, progress: BuildProgress) -> None:
        if sys.stderr.isatty():
            share = f" {progress.share:4.0%} {progress.phase}" if progress.step == "compiling" else ""
            sys.stderr.write(f"\r\x1b[K{progress.model}: {progress.step}{share}"[:110])
        elif progress.step != self._step:
            sys.stderr.write(f"{progress.model}: {progress.step}\n")
        self._step = progress.step
        sys.stderr.flush()
