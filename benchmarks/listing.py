"""Keys a second of a listing page after page, and by ranges side by side, from a server that takes its time.

    python benchmarks/listing.py [--keys 200000 1000000] [--sequential-up-to 200000] [--latency 0.06] [--json] [--save]

The server is a process of its own that makes up `photos/NNNNNNNNN.jpg` (numbered) as they are asked for, a thousand a
page, each page after the latency. Each listing runs in a fresh process, through `S3Store`; the count is asserted.
Numbered keys are the easiest to cut into ranges. Server and client share the cores of this machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench import finish, machine, machine_line, parser, say

from mattemill.pipeline.storage.s3_client import S3Options
from mattemill.pipeline.storage.s3_store import S3Store

_ROW = (
    "<Contents><Key>photos/{:09d}.jpg</Key><LastModified>2026-11-24T00:00:00.000Z</LastModified>"
    "<ETag>&quot;{:032x}&quot;</ETag><Size>500000</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


def serve(keys: int, latency: float) -> None:
    """Answer ListObjectsV2 until killed; prints the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(latency)
            asked = parse_qs(urlsplit(self.path).query)
            after = asked.get("continuation-token", asked.get("start-after", [""]))[0]
            name = after.removeprefix("photos/").removesuffix(".jpg")
            start = int(name) + 1 if name else 0
            end = min(keys, start + 1000)
            last = f"photos/{end - 1:09d}.jpg"
            more = end < keys
            body = (
                '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>bench</Name>'
                + f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>"
                + (f"<NextContinuationToken>{last}</NextContinuationToken>" if more else "")
                + "".join(_ROW.format(n, n) for n in range(start, end))
                + "</ListBucketResult>"
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def listing(port: int, keys: int, parallel: bool) -> dict[str, Any]:
    """List everything, in this process; the time begins before the client is made."""
    begun = time.perf_counter()
    store = S3Store("bench", S3Options(f"http://127.0.0.1:{port}"))
    store.in_key_order = parallel
    count, first = 0, 0.0
    for _ in store.list_many("photos/"):
        if not count:
            first = time.perf_counter() - begun
        count += 1
    seconds = time.perf_counter() - begun
    assert count == keys, (count, keys)
    with open("/proc/self/status", encoding="utf-8") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return {
        "keys": keys,
        "seconds": round(seconds, 2),
        "keys_per_second": round(keys / seconds),
        "first_key_seconds": round(first, 3),
        "core_seconds": round(time.process_time(), 2),
        "peak_mb": round(peak / 1024, 1),
    }


def measured(keys: int, latency: float, parallel: bool) -> dict[str, Any]:
    """Both processes of one listing."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    clean |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
    command = [sys.executable, __file__]
    server = subprocess.Popen(
        [*command, "--serve", "--keys", str(keys), "--latency", str(latency)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        child = [*command, "--list", "parallel" if parallel else "sequential", "--port", port, "--keys", str(keys)]
        done = subprocess.run(child, env=clean, capture_output=True, text=True, check=True)
        result: dict[str, Any] = json.loads(done.stdout)
        return result
    finally:
        server.kill()
        server.wait()


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--keys", type=int, nargs="+", default=[200_000, 1_000_000])
    options.add_argument("--sequential-up-to", type=int, default=200_000)
    options.add_argument("--latency", type=float, default=0.06)
    options.add_argument("--serve", action="store_true", help="be the server")
    options.add_argument("--list", choices=["sequential", "parallel"], help="be the client")
    options.add_argument("--port", type=int)
    args = options.parse_args()
    if args.serve:
        serve(args.keys[0], args.latency)
        return
    if args.list:
        print(json.dumps(listing(args.port, args.keys[0], args.list == "parallel")))
        return
    here = machine()
    result: dict[str, Any] = {"machine": here, "latency_seconds": args.latency, "keys_a_page": 1000, "threads": 8}
    runs = result["runs"] = []
    lines = [machine_line(here)]
    for keys in args.keys:
        row: dict[str, Any] = {"parallel": measured(keys, args.latency, True)}
        if keys <= args.sequential_up_to:
            row["sequential"] = measured(keys, args.latency, False)
            row["ratio"] = round(row["sequential"]["seconds"] / row["parallel"]["seconds"], 2)
        runs.append(row)
        lines.append(json.dumps(row))
        say(lines[-1])
    finish("listing", result, args, lines)


if __name__ == "__main__":
    main()
