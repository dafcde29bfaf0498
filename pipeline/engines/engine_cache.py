"""Where built engines lie, each with its sidecar.

An engine is two files of one stem. The sidecar appears last, by a rename, so an engine that has one is whole; what has
none is left over from a process that was killed. A lock a stem lets many processes ask at once while one builds.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mattemill.pipeline.engines.recipe import EngineRecipe, Target, engine_key
from mattemill.pipeline.engines.sidecar import Parity, Sidecar, loads
from mattemill.pipeline.errors import EngineError
from mattemill.pipeline.file_lock import file_lock, try_lock

_PLAN, _SIDECAR, _LOCK = ".engine", ".json", ".lock"


def default_engine_folder() -> Path:
    """$MATTEMILL_ENGINES, else `mattemill/engines` in the user's cache folder."""
    given = os.environ.get("MATTEMILL_ENGINES")
    if given:
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "mattemill" / "engines"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the cache holds under one stem.

    sidecar: None when it cannot be read, or is not there; `problem` then says so. plan: the engine's file, which need
    not be there. used_at: seconds since 1970, when it was last loaded (or built).
    """

    stem: str
    plan: Path
    sidecar: Sidecar | None
    problem: str | None
    used_at: float


class EngineCache:
    """A folder of engines. Made when something is first written. Raises EngineError when it cannot be used."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else default_engine_folder()

    def find(self, recipe: EngineRecipe, target: Target) -> Entry | None:
        """The engine of this recipe for this target, None when it is not there; its bytes are not looked at."""
        stem = stem_of(recipe, target)
        entry = self._entry(stem)
        return entry if entry.sidecar is not None and entry.plan.is_file() else None

    def entries(self) -> list[Entry]:
        """Everything that has a sidecar or a plan, by stem."""
        if not self.folder.is_dir():
            return []
        stems = {path.stem for path in self.folder.iterdir() if path.suffix in (_PLAN, _SIDECAR) and path.is_file()}
        return [self._entry(stem) for stem in sorted(stems) if not stem.startswith(".")]

    def read(self, entry: Entry) -> bytes:
        """The engine, hash-checked; marks it as used. Raises EngineError when it is damaged: see `problem_of`."""
        problem = entry.problem
        if entry.sidecar is not None:
            try:
                plan = entry.plan.read_bytes()
            except OSError as error:
                problem = f"cannot be read ({error})"
            else:
                problem = _wrong(entry.sidecar, len(plan), hashlib.sha256(plan).hexdigest())
                if problem is None:
                    with suppress(OSError):  # a cache that only others may write is good to read
                        os.utime(entry.plan)
                    return plan
        raise EngineError(
            f"engine {entry.plan}: {problem}; `mattemill engines prune` removes it, then it is built anew"
        )

    def problem_of(self, entry: Entry) -> str | None:
        """What is wrong with an engine's files, None when nothing is. Reads all of it."""
        if entry.sidecar is None:
            return entry.problem
        try:
            with entry.plan.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return _wrong(entry.sidecar, entry.plan.stat().st_size, digest)
        except OSError as error:
            return f"cannot be read ({error})"

    @contextmanager
    def lock(self, recipe: EngineRecipe, target: Target, waiting: Callable[[], None] = lambda: None) -> Iterator[Path]:
        """Only one process at a time builds an engine; gives a scratch folder that goes when the block ends.

        waiting: called now and then while another process has the lock. Look with `find` again once it is held.
        """
        stem = stem_of(recipe, target)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EngineError(
                f"engine cache {self.folder} cannot be made ({error}); set MATTEMILL_ENGINES to another folder"
            ) from error
        with file_lock(self._lock_file(stem), waiting):
            for left in self.folder.glob(f".{stem}-*/"):  # of a build that was killed; its lock died with it
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=f".{stem}-", dir=self.folder) as scratch:
                yield Path(scratch)

    def publish(self, sidecar: Sidecar, built: Path) -> Entry:
        """Move a plan, a file on the cache's file system, into the cache, under the lock of its recipe and target.

        Raises EngineError when it is not the plan that the sidecar describes.
        """
        stem = stem_of(sidecar.recipe, sidecar.target)
        with built.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        problem = _wrong(sidecar, built.stat().st_size, digest)
        if problem is not None:
            raise EngineError(f"engine {built}: {problem}; it is not published")
        built.chmod(0o644)
        # Whoever looks between these two steps finds no engine, never one with the sidecar of another.
        (self.folder / f"{stem}{_SIDECAR}").unlink(missing_ok=True)
        built.replace(self.folder / f"{stem}{_PLAN}")
        self._write_sidecar(stem, sidecar)
        return self._entry(stem)

    def record_parity(self, entry: Entry, parity: Parity) -> Entry:
        """Note that an engine which nothing could run where it was built agrees here."""
        assert entry.sidecar is not None, entry.problem
        old = entry.sidecar
        new = Sidecar(old.recipe, old.target, old.plan_sha256, old.plan_bytes, old.built_at, old.build_seconds, parity)
        self._write_sidecar(entry.stem, new)
        return self._entry(entry.stem)

    def remove(self, entry: Entry) -> bool:
        """Remove an engine; False when it was left alone: a process builds it, or has built it since we looked."""
        with try_lock(self._lock_file(entry.stem)) as free:
            if free and self._entry(entry.stem).sidecar != entry.sidecar:
                return False
            if free:
                # The sidecar first: a plan without one is never loaded.
                (self.folder / f"{entry.stem}{_SIDECAR}").unlink(missing_ok=True)
                entry.plan.unlink(missing_ok=True)
        return free

    def sweep(self) -> int:
        """Remove scratch folders of builds that were killed; how many."""
        count = 0
        for left in self.folder.glob(".*-*/"):
            stem = left.name[1:].rpartition("-")[0]
            with try_lock(self._lock_file(stem)) as free:
                if free:
                    shutil.rmtree(left, ignore_errors=True)
                    count += 1
        return count

    def _entry(self, stem: str) -> Entry:
        plan, side = self.folder / f"{stem}{_PLAN}", self.folder / f"{stem}{_SIDECAR}"
        try:
            used_at = plan.stat().st_mtime
        except OSError:
            used_at = 0.0
        try:
            sidecar = loads(side.read_text(encoding="utf-8"))
        except (OSError, UnicodeError):
            return Entry(stem, plan, None, "has no sidecar: a build that did not end, or a file that was put here", 0.0)
        except EngineError as error:
            return Entry(stem, plan, None, f"its sidecar {error}", used_at)
        if stem_of(sidecar.recipe, sidecar.target) != stem:
            return Entry(stem, plan, None, "its sidecar is that of another engine", used_at)
        return Entry(stem, plan, sidecar, None, used_at)

    def _write_sidecar(self, stem: str, sidecar: Sidecar) -> None:
        partial = self.folder / f".{stem}{_SIDECAR}.part"
        with partial.open("w", encoding="utf-8") as file:
            file.write(sidecar.dumps())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.folder / f"{stem}{_SIDECAR}")

    def _lock_file(self, stem: str) -> Path:
        return self.folder / f".{stem}{_LOCK}"


def stem_of(recipe: EngineRecipe, target: Target) -> str:
    """Of the engine's files: readable, and different for different keys."""
    return f"{recipe.model}-{recipe.precision}-{recipe.backend}-{engine_key(recipe, target)[:20]}"


def _wrong(sidecar: Sidecar, n_bytes: int, digest: str) -> str | None:
    if n_bytes != sidecar.plan_bytes:
        return f"has {n_bytes} bytes, its sidecar says {sidecar.plan_bytes}"
    if digest != sidecar.plan_sha256:
        return f"its sha256 is {digest}, its sidecar says {sidecar.plan_sha256}"
    return None
