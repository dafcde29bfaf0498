"""`mattemill models list|fetch|verify`: the networks, their licences, and where their weights come from."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from mattemill.cluster.cli import options, say
from mattemill.pipeline.errors import ModelError, UsageError
from mattemill.pipeline.models.cache import cache_folder, cached_file, check_file, is_fetched, model_path
from mattemill.pipeline.models.card import ByHand, ModelCard, Shipped
from mattemill.pipeline.models.cards import CARDS, DEFAULT_MODEL, card_of
from mattemill.pipeline.models.fetch import FetchProgress, fetch_model


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "models",
        help="the networks: list, fetch, verify",
        description="The cards of the networks: licence, where the weights come from, and whether they are here.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, parser_class=type(parser))
    listing = actions.add_parser("list", help="all networks with licence, size and source")
    fetch = actions.add_parser("fetch", help="download a network, or take a file that you have, and check its hash")
    fetch.add_argument("name", nargs="?", default=DEFAULT_MODEL, metavar="NAME", help=f"default: {DEFAULT_MODEL}")
    fetch.add_argument(
        "--from-file", "--from", type=Path, dest="from_file", metavar="FILE", help="take this file, do not download"
    )
    verify = actions.add_parser("verify", help="hash the fetched networks against their cards")
    verify.add_argument("name", nargs="?", metavar="NAME", help="default: all that are fetched")
    for action, function in ((listing, list_models), (fetch, fetch_one), (verify, verify_models)):
        options.add_common(action, json_help="as JSON on stdout")
        action.set_defaults(run=function)


def list_models(args: argparse.Namespace) -> int:
    """Print every card."""
    if args.json:
        print(json.dumps([card_json(card) for card in CARDS.values()]))
        return 0
    rows = []
    for card in CARDS.values():
        mark = "fetched" if is_fetched(card) else "-"
        name = f"{card.name}{' (default)' if card.default else ''}"
        rows.append((name, card.task, say.size(card.size_bytes), mark, card.weights_licence))
    print(say.table([("name", "task", "size", "here", "licence of the weights"), *rows], indent=""))
    for card in CARDS.values():
        print(f"\n{card.name}: {card.origin}\n  from {card.source}\n  sha256 {card.sha256}")
        for note in card.notes:
            print(f"  note: {note}")
    print(f"\nfetched networks lie in {cache_folder()} (set MATTEMILL_MODELS to change it)")
    return 0


def card_json(card: ModelCard) -> dict[str, Any]:
    """A card's facts for machines."""
    return {
        "name": card.name,
        "task": card.task,
        "default": card.default,
        "sha256": card.sha256,
        "size_bytes": card.size_bytes,
        "weights_licence": card.weights_licence,
        "code_licence": card.code_licence,
        "origin": card.origin,
        "source": str(card.source),
        "notes": list(card.notes),
        "fetched": is_fetched(card),
        "path": str(cached_file(card)),
    }


def fetch_one(args: argparse.Namespace) -> int:
    """Put one network into the cache."""
    path = fetch_with_progress(_known(args.name), args.from_file)
    print(json.dumps({"name": args.name, "path": str(path)}) if args.json else path)
    return 0


def verify_models(args: argparse.Namespace) -> int:
    """Check one network, or all that are fetched; 1 when one is not the file of its card."""
    cards = [card_of(_known(args.name))] if args.name else [card for card in CARDS.values() if is_fetched(card)]
    results = []
    for card in cards:
        path = cached_file(card)
        problem = None
        if not path.is_file():
            problem = f"not fetched: mattemill models fetch {card.name}"
        else:
            try:
                check_file(card, path)
            except ModelError as error:
                problem = str(error)
        results.append({"name": card.name, "path": str(path), "ok": problem is None, "problem": problem})
        if not args.json:
            print(f"{card.name}: {problem or 'ok'}")
    if args.json:
        print(json.dumps(results))
    elif not cards:
        print(f"no network is fetched yet; `mattemill models fetch` gets {DEFAULT_MODEL}")
    return 0 if all(result["ok"] for result in results) else 1


def fetch_needed(model: str, second: str = "none") -> None:
    """See that a job's networks are here: the default one is fetched, saying so; others are for the user to fetch.

    The default network is needed whatever the `model`: it also localises. second: the setting `second_network`; it is
    fetched, too: whoever asks for it, or for the recipe `best`, has read that it is a download of 165 MB. Raises
    UsageError for an unknown name, ModelError for one that has to be fetched first.
    """
    if model != DEFAULT_MODEL and not is_fetched(card_of(_known(model))):
        model_path(model)  # its error says how
    if not is_fetched(CARDS[DEFAULT_MODEL]):
        fetch_with_progress(DEFAULT_MODEL, None)
    if second != "none" and not is_fetched(card_of(_known(second))):
        fetch_with_progress(second, None)


def fetch_with_progress(name: str, from_file: Path | None) -> Path:
    """`fetch_model` with a line at its start and one at its end on stderr."""
    card = card_of(name)
    if from_file is None and not is_fetched(card) and not isinstance(card.source, ByHand | Shipped):
        sys.stderr.write(
            f"fetching network {name} ({say.size(card.source.download_bytes)}, weights {card.weights_licence}): "
            f"{card.source}\n"
        )
    told: set[str] = set()

    def tell(progress: FetchProgress) -> None:
        if progress.step == "waiting" and progress.step not in told:
            sys.stderr.write(f"waiting for another process that fetches {name}\n")
        told.add(progress.step)

    path = fetch_model(name, from_file=from_file, on_progress=tell)
    if "checking" in told or from_file is not None:
        sys.stderr.write(f"network {name}: sha256 is that of its card\n")
    return path


def _known(name: str) -> str:
    if name not in CARDS:
        raise UsageError(f"model {name!r} is not known; known are {', '.join(sorted(CARDS))}")
    return name
