"""A software bill of materials (CycloneDX 1.6, JSON) of an image, from the lock files.

    python infra/docker/sbom.py > mattemill.cdx.json                         what the lock files pin
    python infra/docker/sbom.py --installed /opt/mattemill/venv > ...        what is installed there, held to the pins

The networks that lie in the image are in it too, with their licences and hashes. Deterministic: no time, no serial
number, so that equal images have equal bills, and a signature of one can be compared.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from mattemill.pipeline.models.card import Shipped
from mattemill.pipeline.models.cards import CARDS, DEFAULT_MODEL

ROOT = Path(__file__).parents[2]
LOCKS = (ROOT / "constraints.txt", ROOT / "infra" / "docker" / "constraints-cluster.txt")


def normal(name: str) -> str:
    """A distribution's name as the index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(locks: Iterable[Path] = LOCKS) -> dict[str, str]:
    """Versions by name. Raises ValueError for a line that pins nothing."""
    found = {}
    for lock in locks:
        for line in lock.read_text(encoding="utf-8").splitlines():
            requirement = line.partition("#")[0].strip()
            if requirement:
                name, pin, version = requirement.partition("==")
                if not pin:
                    raise ValueError(f"{lock.name}: {requirement} names no exact version")
                found[normal(name)] = version
    return found


def installed(environment: Path) -> dict[str, str]:
    """Versions by name in a virtual environment, without mattemill itself."""
    folders = [str(folder) for folder in environment.glob("lib/python3.*/site-packages")]
    found = {normal(each.metadata["Name"]): each.version for each in metadata.distributions(path=folders)}
    found.pop("mattemill", None)
    return found


def unpinned(there: Mapping[str, str], pins: Mapping[str, str]) -> list[str]:
    """What is installed and not as pinned, a line each."""
    return [
        f"{name} {version} is installed, {f'{pins[name]} is pinned' if name in pins else 'not pinned'}"
        for name, version in sorted(there.items())
        if pins.get(name) != version
    ]


def bill(packages: Mapping[str, str]) -> dict[str, Any]:
    """The document."""
    components: list[dict[str, Any]] = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}@{version}",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name}@{version}",
        }
        for name, version in sorted(packages.items())
    ]
    for card in sorted(CARDS.values(), key=lambda card: card.name):
        if card.name == DEFAULT_MODEL or isinstance(card.source, Shipped):
            components.append(
                {
                    "type": "machine-learning-model",
                    "bom-ref": f"model:{card.name}",
                    "name": card.name,
                    "licenses": [{"license": {"name": card.weights_licence}}],
                    "hashes": [{"alg": "SHA-256", "content": card.sha256}],
                }
            )
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": "mattemill", "name": "mattemill"}},
        "components": components,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="A bill of materials (CycloneDX) from the lock files.")
    parser.add_argument("--installed", type=Path, metavar="VENV", help="what is installed there, held to the pins")
    asked = parser.parse_args()
    packages = pins = pinned()
    if asked.installed is not None:
        packages = installed(asked.installed)
        if not packages:
            sys.stderr.write(f"{asked.installed}: no packages are installed there\n")
            return 1
        if wrong := unpinned(packages, pins):
            sys.stderr.write("\n".join(wrong) + "\n")
            return 1
    print(json.dumps(bill(packages), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
