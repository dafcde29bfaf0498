"""Which engines of the cache nobody needs any more. Pure: the cache is read and changed elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mattemill.pipeline.engines.engine_cache import Entry
from mattemill.pipeline.engines.recipe import Backend

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Prunable:
    """An engine that can go, and why."""

    entry: Entry
    why: str


def prunable(
    entries: Iterable[Entry],
    *,
    now: float,
    versions: dict[Backend, str],
    unused_days: float = 60.0,
    everything: bool = False,
) -> list[Prunable]:
    """What `mattemill engines prune` removes: damaged engines, and those that nothing here would load.

    now: seconds since 1970. versions: of the backends that are installed; engines of a backend that is not are only
    judged by their age, as another environment may share the cache. unused_days: neither built nor loaded for so long.
    everything: all of them.
    """
    found = []
    for entry in entries:
        why = "all were asked for" if everything else _why(entry, now, versions, unused_days)
        if why is not None:
            found.append(Prunable(entry, why))
    return found


def _why(entry: Entry, now: float, versions: dict[Backend, str], unused_days: float) -> str | None:
    if entry.sidecar is None:
        return entry.problem
    recipe, target = entry.sidecar.recipe, entry.sidecar.target
    installed = versions.get(recipe.backend)
    if installed is not None and installed != target.version:
        return f"for {recipe.backend} {target.version}, installed is {installed}"
    days = (now - entry.used_at) / _DAY
    if days > unused_days:
        return f"not used for {days:.0f} days"
    return None
