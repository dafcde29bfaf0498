"""What the README says is so."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from mattemill.cluster.cli.main import build_parser
from mattemill.cluster.cli.options import FLAG_FIELDS
from mattemill.pipeline.config import PIXEL_FIELDS, JobConfig
from mattemill.pipeline.ledger.ledger import Ledger
from mattemill.pipeline.ledger.schema import LOG_COLUMNS, OUTCOME_SCHEMA
from mattemill.pipeline.models.cards import CARDS
from mattemill.pipeline.models.fetch import fetch_model
from mattemill.pipeline.outcome import Failure, Matte
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.reasons import SENTENCES, Reason
from mattemill.pipeline.shard import make_shard

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text below a heading, to the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"the README has no section {title!r}"
    return found[1]


def table(text: str) -> list[list[str]]:
    """The rows of the tables in a text, without their heads."""
    rows = [line.strip().strip("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)] for row in rows]
    return [row for i, row in enumerate(cells) if not _is_head(cells, i)]


def _is_head(cells: list[list[str]], i: int) -> bool:
    def is_rule(row: list[str]) -> bool:
        return all(set(cell) <= set("-:") and cell for cell in row)

    return is_rule(cells[i]) or (i + 1 < len(cells) and is_rule(cells[i + 1]))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_the_table_of_reasons_is_the_closed_list_with_its_sentences() -> None:
    rows = {row[0].strip("`"): row[1] for row in table(section("Why photographs fail"))}
    assert rows == {reason.value: sentence for reason, sentence in SENTENCES.items()}


def test_every_column_of_the_outcome_files_is_described() -> None:
    named = [name for row in table(section("Outcome files")) for name in re.findall(r"`(\w+)`", row[0])]
    assert named == OUTCOME_SCHEMA.names


def test_every_column_of_the_failure_log_is_named_in_its_order() -> None:
    listed = section("Failure log").split("Columns:")[1].split(", with the meanings above")[0]
    assert tuple(re.findall(r"`(\w+)`", listed)) == LOG_COLUMNS


def test_every_setting_stands_with_its_default_and_whether_it_has_a_flag() -> None:
    rows = table(section("Settings"))
    documented = {re.findall(r"`(\w+)`", row[0])[0]: (row[1].strip("`"), "–" in row[0]) for row in rows}
    actual = {
        field.name: (
            "none" if field.default is None else json.dumps(field.default),
            field.name in FLAG_FIELDS,
        )
        for field in dataclasses.fields(JobConfig)
    }
    assert documented == actual


def test_the_settings_in_the_fingerprint_are_named() -> None:
    paragraph = TEXT.split("The fingerprint holds")[1].split("Workers, limits")[0]
    assert set(re.findall(r"`(\w+)`", paragraph)) == set(PIXEL_FIELDS)


def test_every_command_is_in_the_table_and_every_one_in_the_table_exists() -> None:
    documented = {re.match(r"`mattemill (\w+)", row[0]) for row in table(section("Commands")) if "mattemill" in row[0]}
    actions = build_parser()._subparsers
    assert actions is not None
    choices = actions._group_actions[0].choices
    assert choices is not None
    assert {found[1] for found in documented if found} == set(choices)


def test_every_option_that_the_readme_names_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        ["run"],
        ["serve"],
        ["cut"],
        ["failures"],
        ["demo"],
        ["models", "fetch"],
        ["evaluate"],
        ["train", "matting"],
        ["plan"],
        ["prune"],
        ["quantize"],
    ):
        with pytest.raises(SystemExit):
            build_parser().parse_args([*command, "--help"])
    helps = capsys.readouterr().out
    ours = re.sub(r"`(ray start|kubectl)\b[^`]*`", "", TEXT)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours)) - {"--help"}
    assert len(named) > 10
    assert {option for option in named if option not in helps} == set()


def test_every_network_stands_with_its_licence_and_notes() -> None:
    rows = {re.findall(r"`(\w+)`", row[0])[0]: row for row in table(section("Networks"))}
    assert rows.keys() == CARDS.keys()
    for name, card in CARDS.items():
        assert rows[name][1] == card.weights_licence
        assert all(note in rows[name][3] for note in card.notes)


def test_every_make_target_that_the_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"`?make (\w+)", " ".join(blocks("sh"))))
    assert named == {"demo", "test"}
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in named)


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if not link.startswith("http")]
    assert "tests/samples/example.jpg" in links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_iam_policy_parses_and_allows_what_a_job_does_and_no_more() -> None:
    (policy,) = [json.loads(block) for block in blocks("json")]
    assert policy["Version"] == "2012-10-17"
    allowed = {}
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        actions = statement["Action"]
        for resource in [statement["Resource"]] if isinstance(statement["Resource"], str) else statement["Resource"]:
            allowed[resource] = set([actions] if isinstance(actions, str) else actions)
    assert allowed == {
        "arn:aws:s3:::my-photos": {"s3:ListBucket"},
        "arn:aws:s3:::my-mattes": {"s3:ListBucket"},
        "arn:aws:s3:::my-photos/catalog/*": {"s3:GetObject"},
        "arn:aws:s3:::my-mattes/catalog/*": {"s3:PutObject", "s3:DeleteObject"},
        "arn:aws:s3:::my-mattes/catalog/_mattemill/*": {"s3:GetObject"},
    }


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_model("u2netp")
    (example,) = [block for block in blocks("python") if "Cutter" in block]
    monkeypatch.chdir(tmp_path)
    for sample, expected in (("astronaut.jpg", "(512, 512, 4)"), ("gravel.jpg", "no_subject")):
        (tmp_path / "photo.jpg").write_bytes((ROOT / "tests/samples/photos" / sample).read_bytes())
        exec(compile(example, "README.md", "exec"), {})
        assert capsys.readouterr().out.startswith(expected)
    assert (tmp_path / "photo.cutout.png").exists()


def test_the_example_that_reads_the_failure_log_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    refs = [ImageRef(key, f"file:///photos/{key}") for key in ("a.jpg", "b.jpg", "c.jpg")]
    with Ledger.open("mattes", JobConfig(), "0123456789abcdef", "file:///photos/") as ledger:
        outcomes = {
            "a.jpg": Matte("a.jpg.png", 1),
            "b.jpg": Failure(Reason.TRUNCATED, "fetch", "cut off"),
            "c.jpg": Failure(Reason.TRUNCATED, "fetch", "cut off"),
        }
        ledger.commit(make_shard([ref for ref, _ in ledger.due(refs)]), outcomes)
        ledger.finish_job()
    (example,) = [block for block in blocks("python") if "duckdb" in block]
    exec(compile(example, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert re.search(r"truncated\s+2", out), "pandas counts by reason"
    assert re.search(r"truncated\s+│\s+fetch\s+│\s+2", out), "DuckDB counts by reason and stage"
