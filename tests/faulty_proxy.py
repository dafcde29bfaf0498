"""A proxy in front of a real S3 server that answers wrongly when told to.

The client's Host header is passed on unchanged, since the signature covers it. One upstream connection a request;
connections from clients are kept open, as S3's are.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import unquote, urlsplit

STATUS = {
    "slow_down": (503, "SlowDown", "Please reduce your request rate."),
    "internal": (500, "InternalError", "We encountered an internal error. Please try again."),
    "forbidden": (403, "AccessDenied", "Access Denied"),
    "missing": (404, "NoSuchKey", "The specified key does not exist."),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
    "conflict": (409, "ConditionalRequestConflict", "The conditional request cannot succeed due to a conflict."),
}
KINDS = (
    *STATUS,
    "cut_body",  # half of the body, then the connection closes
    "stall",  # half of the body, then nothing for `seconds`
    "short_body",  # half of the body, with a Content-Length that says so
    "damaged_body",  # one byte of the body is another one, not always the same
    "same_damage",  # one byte of the body is another one, always the same
    "drop",  # the connection closes before anything is answered; the server never sees the request
    "lost_answer",  # the server did it, but the connection closes before its answer
    "latency",  # everything right, `seconds` late
)


@dataclass
class Fault:
    """What goes wrong, for which requests, how often.

    pattern: searched in the percent-decoded path (`/bucket/key`). times: None = for ever. skip: matching requests that
    go well first. each_key: times and skip count for each path on its own.
    """

    kind: str
    pattern: str = ""
    methods: tuple[str, ...] = ("GET",)
    times: int | None = 1
    skip: int = 0
    seconds: float = 0.0
    each_key: bool = True
    _seen: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind}: no such fault; there are {', '.join(KINDS)}")

    def strikes(self, method: str, path: str) -> bool:
        """Whether this request goes wrong; counts it."""
        if method not in self.methods or not re.search(self.pattern, path):
            return False
        counter = path if self.each_key else ""
        seen = self._seen[counter] = self._seen.get(counter, 0) + 1
        return seen > self.skip and (self.times is None or seen <= self.skip + self.times)


class FaultyProxy:
    """`with FaultyProxy(server.endpoint_url) as proxy:` and point the client at `proxy.endpoint_url`.

    faults: the first that strikes is the one. requests: (method, path, fault or None) in order of arrival.
    """

    def __init__(self, upstream_url: str, *faults: Fault) -> None:
        upstream = urlsplit(upstream_url)
        assert upstream.hostname is not None
        assert upstream.port is not None
        self._upstream = (upstream.hostname, upstream.port)
        self.faults: list[Fault] = list(faults)
        self.requests: list[tuple[str, str, str | None]] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self.port = 0

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, method: str, pattern: str = "") -> int:
        """How many requests of this method came for paths with this pattern."""
        with self._lock:
            return sum(m == method and re.search(pattern, path) is not None for m, path, _ in self.requests)

    def up(self) -> None:
        """Listen, on the same port as before."""
        self._closing = threading.Event()
        listener = socket.create_server(("127.0.0.1", self.port), backlog=128, reuse_port=False)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener, self._closing), daemon=True).start()

    def down(self) -> None:
        """Refuse connections and cut those that are open: the store is away."""
        self._closing.set()
        if self._listener is not None:
            _close(self._listener)
            self._listener = None
        with self._lock:
            connections, self._connections = self._connections, set()
        for connection in connections:
            _close(connection)

    def __enter__(self) -> FaultyProxy:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def _accept(self, listener: socket.socket, closing: threading.Event) -> None:
        while not closing.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection, closing), daemon=True).start()

    def _serve(self, connection: socket.socket, closing: threading.Event) -> None:
        try:
            buffered = b""
            while not closing.is_set():
                head, buffered = _read_head(connection, buffered)
                if not head:
                    return
                headers = _headers(head)
                if "100-continue" in headers.get("expect", "").lower():
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                body, buffered = _read_body(connection, buffered, int(headers.get("content-length", "0")))
                if not self._answer(connection, head, body, closing):
                    return
        except OSError:
            return  # the client went away
        finally:
            with self._lock:
                self._connections.discard(connection)
            _close(connection)

    def _answer(self, connection: socket.socket, head: bytes, body: bytes, closing: threading.Event) -> bool:
        """Answer one request; whether the connection lives on."""
        method, target = head.split(b" ", 2)[:2]
        path = unquote(urlsplit(target.decode("latin-1")).path)
        with self._lock:
            fault = next((f for f in self.faults if f.strikes(method.decode(), path)), None)
            self.requests.append((method.decode(), path, fault.kind if fault else None))
        kind = fault.kind if fault else None
        if kind == "drop":
            return False
        if kind in STATUS:
            connection.sendall(_error(*STATUS[kind], with_body=method != b"HEAD"))
            return True
        answer = self._forward(head, body)
        if kind == "lost_answer":
            return False
        if fault is None or kind == "latency":
            closing.wait(fault.seconds if fault else 0)
            connection.sendall(answer)
            return True
        answer_head, _, answer_body = answer.partition(b"\r\n\r\n")
        half = len(answer_body) // 2
        if kind in ("damaged_body", "same_damage"):
            at = half + (len(self.requests) if kind == "damaged_body" else 0)
            answer_body = answer_body[:at] + bytes([answer_body[at] ^ 0x20]) + answer_body[at + 1 :]
            connection.sendall(answer_head + b"\r\n\r\n" + answer_body)
            return True
        if kind == "short_body":
            length = re.compile(rb"(?i)(\r\ncontent-length: *)\d+")
            answer_head = length.sub(lambda match: match[1] + str(half).encode(), answer_head)
            connection.sendall(answer_head + b"\r\n\r\n" + answer_body[:half])
            return True
        connection.sendall(answer_head + b"\r\n\r\n" + answer_body[:half])
        if kind == "stall":
            closing.wait(fault.seconds)
        return False

    def _forward(self, head: bytes, body: bytes) -> bytes:
        lines = [line for line in head.split(b"\r\n") if not re.match(rb"(?i)(expect|connection):", line)]
        with socket.create_connection(self._upstream, timeout=60) as upstream:
            upstream.sendall(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body)
            answer = b"".join(iter(lambda: upstream.recv(1 << 20), b""))
        return re.sub(rb"(?i)\r\nconnection: *close", b"", answer, count=1)


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a condition that another thread brings about; fails the test when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not come about within {seconds} s"
        time.sleep(0.01)


def _read_head(connection: socket.socket, buffered: bytes) -> tuple[bytes, bytes]:
    while b"\r\n\r\n" not in buffered:
        received = connection.recv(65536)
        if not received:
            return b"", b""
        buffered += received
    head, _, rest = buffered.partition(b"\r\n\r\n")
    return head, rest


def _read_body(connection: socket.socket, buffered: bytes, length: int) -> tuple[bytes, bytes]:
    parts, have = [buffered], len(buffered)
    while have < length:
        received = connection.recv(1 << 20)
        if not received:
            raise ConnectionError("the client stopped in the middle of its body")
        parts.append(received)
        have += len(received)
    whole = b"".join(parts)
    return whole[:length], whole[length:]


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _error(status: int, code: str, message: str, with_body: bool) -> bytes:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    body = text.encode() if with_body else b""
    return (
        f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed by the other side
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
