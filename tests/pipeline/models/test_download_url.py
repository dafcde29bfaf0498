"""Networks from an address: over a real HTTP server on this machine, with its faults."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mattemill.pipeline.errors import ModelError
from mattemill.pipeline.models import fetch
from mattemill.pipeline.models.card import Address
from mattemill.pipeline.models.download_url import download_address
from mattemill.pipeline.models.gpu_cards import BIREFNET_LITE, GPU_CARDS

_BODY = bytes(range(256)) * 4096


class Server:
    """Serves _BODY. cut: after how many bytes of each answer it hangs up, by the number of the answer."""

    def __init__(self, cut: Callable[[int], int | None], *, ranges: bool = True, status: int = 200) -> None:
        self.asked: list[str | None] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                number = len(asked)
                wanted = self.headers.get("Range")
                asked.append(wanted)
                if status != 200:
                    self.send_error(status)
                    return
                start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and ranges else 0
                body = _BODY[start:]
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(_BODY) - 1}/{len(_BODY)}")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: cut(number)])
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/model.onnx"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers: list[Server] = []

    def start(cut: Callable[[int], int | None] = lambda number: None, **options: bool | int) -> Server:
        servers.append(Server(cut, **options))  # type: ignore[arg-type]
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def _get(server: Server, into: Path, size: int = len(_BODY)) -> list[int]:
    told: list[int] = []
    download_address("lite", Address(server.url, size), into, told.append, pause=0.0, timeout=5.0)
    return told


def test_the_file_comes_whole_and_its_progress_is_told(serve: Callable[..., Server], tmp_path: Path) -> None:
    told = _get(serve(), tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == _BODY
    assert told[-1] == len(_BODY)
    assert told == sorted(told)


def test_a_broken_download_goes_on_where_it_broke(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(lambda number: 300_000 if number < 2 else None)
    _get(server, tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == _BODY
    assert server.asked == [None, "bytes=300000-", "bytes=600000-"]


def test_a_server_that_cannot_continue_is_read_from_the_start(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(lambda number: 300_000 if number < 1 else None, ranges=False)
    _get(server, tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == _BODY


def test_a_server_that_always_breaks_is_given_up_with_what_to_do(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(lambda number: 0)
    with pytest.raises(ModelError, match=r"lite could not be downloaded from http.*models fetch lite --from-file PATH"):
        _get(server, tmp_path / "model")
    assert len(server.asked) == 5


def test_a_file_that_is_not_there_is_asked_for_once(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(status=404)
    with pytest.raises(ModelError, match="HTTP 404"):
        _get(server, tmp_path / "model")
    assert len(server.asked) == 1


def test_a_longer_file_than_the_cards_is_not_read_to_its_end(serve: Callable[..., Server], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="longer than the 1000 bytes that the card says"):
        _get(serve(), tmp_path / "model", 1000)


def test_fetching_publishes_only_the_file_of_the_cards_hash(
    serve: Callable[..., Server], empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = dataclasses.replace(
        BIREFNET_LITE,
        source=Address(serve().url, len(_BODY)),
        sha256=hashlib.sha256(_BODY).hexdigest(),
        size_bytes=len(_BODY),
    )
    monkeypatch.setattr(fetch, "card_of", lambda name: right if name == "right" else BIREFNET_LITE)
    assert fetch.fetch_model("right").read_bytes() == _BODY
    wrong = dataclasses.replace(right, name="wrong", sha256="0" * 64)
    monkeypatch.setattr(fetch, "card_of", lambda name: wrong)
    with pytest.raises(ModelError, match="not the file of model wrong"):
        fetch.fetch_model("wrong")
    assert [path.name for path in empty_cache.glob("*.onnx")] == [right.file_name]


def test_the_cards_name_addresses_that_cannot_be_read_on_the_way() -> None:
    for card in GPU_CARDS:
        assert isinstance(card.source, Address)
        assert card.source.url.startswith("https://")
        assert card.source.download_bytes == card.size_bytes
