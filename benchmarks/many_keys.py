"""Time to the first matte and the driver's memory, by the number of keys that the source holds.

    python benchmarks/many_keys.py [--keys 1000 1000000 10000000] [--seconds 20] [--json] [--save]

The server is a process of its own that makes up keys a thousand a page as they are asked for, and gives one JPEG for
each. `mattemill run` is started as a user starts it; `--seconds` after the first matte lies in the sink (a folder) it
gets a SIGTERM and drains. The mattes in the sink are asserted to be exactly the images that it says it has done. Peak
memory is the driver's process alone, Ray's processes and workers are not in it. Server and job share the machine.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

from bench import finish, machine, machine_line, parser, say
from photographs import photographs

MATTEMILL = str(Path(sys.executable).parent / "mattemill")
_ROW = (
    "<Contents><Key>photos/{:09d}.jpg</Key><LastModified>2026-11-24T00:00:00.000Z</LastModified>"
    "<ETag>&quot;{:032x}&quot;</ETag><Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


def serve(keys: int) -> None:
    """Answer listings and GETs until killed; prints the port. /listed: keys that were listed so far."""
    (_, photo), *_ = photographs(1)
    listed = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            split = urlsplit(self.path)
            if split.path == "/listed":
                self._send(str(listed).encode())
            elif split.path.endswith(".jpg"):
                self._send(photo, ETag=f'"{int(split.path[-13:-4]):032x}"', **{"Content-Type": "image/jpeg"})
            else:
                self._send(self._page(parse_qs(split.query)))

        def _page(self, asked: dict[str, list[str]]) -> bytes:
            nonlocal listed
            after = asked.get("continuation-token", asked.get("start-after", [""]))[0]
            name = after.removeprefix("photos/").removesuffix(".jpg")
            start = int(name) + 1 if name.isdecimal() else 0
            end = min(keys, start + int(asked.get("max-keys", ["1000"])[0]))
            listed = max(listed, end)
            more = end < keys
            return (
                '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>bench</Name>'
                + f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>"
                + (f"<NextContinuationToken>photos/{end - 1:09d}.jpg</NextContinuationToken>" if more else "")
                + "".join(_ROW.format(n, n, len(photo)) for n in range(start, end))
                + "</ListBucketResult>"
            ).encode()

        def _send(self, body: bytes, **headers: str) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def one(keys: int, seconds: float) -> dict[str, Any]:
    """One job over so many keys."""
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", "--keys", str(keys)], stdout=subprocess.PIPE, text=True
    )
    with tempfile.TemporaryDirectory(prefix="mattemill-keys-") as folder:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            return _job(keys, seconds, f"http://127.0.0.1:{port}", Path(folder) / "out")
        finally:
            server.kill()
            server.wait()


def _job(keys: int, seconds: float, url: str, sink: Path) -> dict[str, Any]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    clean |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
    clean |= {"AWS_ENDPOINT_URL": url}
    command = [MATTEMILL, "run", "--json", "--quiet", "s3://bench/photos/", str(sink)]
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, env=clean, stdout=said, stderr=errors)
        first, peak = None, 0.0
        while process.poll() is None:
            now = time.monotonic() - began
            peak = max(peak, _peak_mb(process.pid))
            if first is None and sink.exists() and next(sink.rglob("*.png"), None) is not None:
                first = now
            if first is not None and now >= first + seconds:
                break
            time.sleep(0.05)
        listed = int(urlopen(f"{url}/listed").read())
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(120)
        said.seek(0)
        errors.seek(0)
        assert first is not None, errors.read()[-3000:]
        summary = json.loads(said.read().splitlines()[-1])
    mattes = sum(1 for _ in sink.rglob("*.png"))
    assert mattes == summary["images"], (mattes, summary)
    return {
        "keys": keys,
        "first_matte_seconds": round(first, 2),
        "listed_by_then_plus_seconds": listed,
        "images": mattes,
        "driver_peak_mb": round(peak, 1),
    }


def _peak_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def main() -> None:
    """Run it from the command line."""
    options = parser(__doc__)
    options.add_argument("--keys", type=int, nargs="+", default=[1_000, 1_000_000, 10_000_000])
    options.add_argument("--seconds", type=float, default=20.0, help="how long a job goes on after its first matte")
    options.add_argument("--serve", action="store_true", help="be the server")
    arguments = options.parse_args()
    if arguments.serve:
        serve(arguments.keys[0])
        return
    found = machine()
    runs = []
    for keys in arguments.keys:
        runs.append(one(keys, arguments.seconds))
        say(json.dumps(runs[-1]))
    ratio = round(runs[-1]["first_matte_seconds"] / runs[0]["first_matte_seconds"], 2)
    result = {
        "machine": found,
        "seconds_after_the_first": arguments.seconds,
        "ratio_last_to_first": ratio,
        "runs": runs,
    }
    lines = [machine_line(found)] + [
        f"{run['keys']:,} keys: first matte after {run['first_matte_seconds']} s, driver's peak "
        f"{run['driver_peak_mb']} MB ({run['listed_by_then_plus_seconds']:,} keys listed, {run['images']} images done)"
        for run in runs
    ]
    finish("many_keys", result, arguments, lines)


if __name__ == "__main__":
    main()
