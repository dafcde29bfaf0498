"""`mattemill failures` and `mattemill status` on a sink that a ledger has written."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mattemill.pipeline.config import JobConfig
from mattemill.pipeline.ledger.ledger import Ledger
from mattemill.pipeline.outcome import Facts, Failure, Matte, Outcome
from mattemill.pipeline.photo import ImageRef
from mattemill.pipeline.reasons import SENTENCES, Reason
from mattemill.pipeline.shard import make_shard

FINGERPRINT = "0123456789abcdef"
HOSTILE = "x/<script>alert(1)</script>\x1b[31m.jpg"


def preview(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def sink(tmp_path: Path) -> str:
    """Seven images: two cut, three truncated, one without a subject, one with a hostile key."""
    outcomes: dict[str, Outcome] = {
        "a.jpg": Matte("a.jpg.png", 10),
        "b.jpg": Matte("b.jpg.png", 10),
        **{f"cut-off-{n}.jpg": Failure(Reason.TRUNCATED, "fetch", f"message {n}") for n in range(3)},
        "gravel.jpg": Failure(
            Reason.NO_SUBJECT, "detect", "nothing there", preview("green"), Facts(width=640, height=480)
        ),
        HOSTILE: Failure(Reason.NO_SUBJECT, "detect", "<b>bold</b>", preview("red")),
    }
    refs = [ImageRef(key, f"file:///photos/{key}", "etag", 100) for key in outcomes]
    folder = tmp_path / "sink"
    with Ledger.open(str(folder), JobConfig(), FINGERPRINT, "file:///photos/") as ledger:
        due = [ref for ref, _ in ledger.due(refs)]
        ledger.commit(make_shard(due), outcomes)
        ledger.finish_job()
    return str(folder)


def test_failures_come_by_reason_with_their_sentence_and_examples(
    here: Callable[..., int], sink: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("failures", sink, "--examples", "2") == 0
    text = capsys.readouterr().out
    assert "5 of 7 images failed" in text
    assert text.index(SENTENCES[Reason.TRUNCATED]) < text.index(SENTENCES[Reason.NO_SUBJECT])
    assert "cut-off-0.jpg" in text
    assert "and 1 more" in text
    assert "gravel.jpg (640x480), in detect: nothing there" in text


def test_control_characters_of_a_key_do_not_reach_the_terminal(
    here: Callable[..., int], sink: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("failures", sink) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert r"\x1b[31m" in text


def test_one_reason_alone_as_json(here: Callable[..., int], sink: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert here("failures", sink, "--reason", "no_subject", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [(group["reason"], group["count"]) for group in report["groups"]] == [("no_subject", 2)]
    assert {example["key"] for example in report["groups"][0]["examples"]} == {"gravel.jpg", HOSTILE}


def test_the_page_of_previews_shows_the_pictures_and_escapes_what_others_wrote(
    here: Callable[..., int], sink: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("failures", sink, "--previews", "page") == 0
    assert "2 previews in page/index.html" in capsys.readouterr().out
    html = Path("page/index.html").read_text()
    assert "<script>" not in html
    assert "<b>bold" not in html
    assert "&lt;script&gt;" in html
    pictures = sorted(Path("page/previews").iterdir())
    assert len(pictures) == 2
    for picture in pictures:
        assert Image.open(picture).size == (40, 30)
        assert f"previews/{picture.name}" in html
    assert html.count("no preview") == 3


def test_a_sink_without_a_job_says_so(
    here: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for command in ("failures", "status"):
        assert here(command, "empty") == 0
        assert "no job has run here yet" in capsys.readouterr().out


def test_status_says_what_is_done_open_and_failed(
    here: Callable[..., int], sink: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("status", sink) == 0
    text = capsys.readouterr().out
    assert f"job {FINGERPRINT}" in text
    assert "7: 2 cut, 5 failed (truncated 3, no_subject 2)" in text
    assert "mattes of file:///photos/" in text


def test_status_as_json(here: Callable[..., int], sink: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert here("status", sink, "--json") == 0
    job = json.loads(capsys.readouterr().out)["jobs"][0]
    assert (job["fingerprint"], job["done"], job["open"]) == (FINGERPRINT, 7, 0)
    assert job["running"] is None
