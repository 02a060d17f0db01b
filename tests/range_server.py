"""Serves a folder on 127.0.0.1 with byte ranges, in a process of its own: GDAL keeps the interpreter's lock.

``python range_server.py FOLDER`` prints its port. Every request is a line of FOLDER/../asked.txt, and every answer
one of FOLDER/../sent.txt: the method, the bytes, the header X-Token of the request. While there is FOLDER/broken, all
fail; the word in FOLDER/../manner.txt says how else it behaves: "whole" ignores ranges, "refuses" everything, "dies"
after half of an answer, "sleeps" before one, "silent" says no sizes.
"""

from __future__ import annotations

import http.server
import re
import sys
import time
from pathlib import Path

FOLDER = Path(sys.argv[1])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        with (FOLDER.parent / "asked.txt").open("a") as stream:
            stream.write(self.path + "\n")
        said = FOLDER.parent / "manner.txt"
        manner = said.read_text() if said.exists() else ""
        file = FOLDER / self.path.partition("?")[0].lstrip("/")
        if manner == "refuses":
            self.send_error(403)
            return
        if manner == "sleeps":
            time.sleep(3)
        if (FOLDER / "broken").exists() or not file.is_file():
            self.send_error(500 if (FOLDER / "broken").exists() else 404)
            return
        state = file.stat()
        size = state.st_size
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if manner != "whole" else None
        first, last = (int(wanted[1]), int(wanted[2] or size - 1)) if wanted else (0, size - 1)
        if first >= size and wanted:
            self.send_error(416)
            return
        with file.open("rb") as stream:
            stream.seek(first)
            part = stream.read(max(last + 1 - first, 0))
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", f'"{state.st_mtime_ns:x}-{size:x}"')
        if manner != "whole":
            self.send_header("Accept-Ranges", "bytes")
        if manner != "silent":
            self.send_header("Content-Length", str(len(part)))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{size}")
        self.end_headers()
        with (FOLDER.parent / "sent.txt").open("a") as stream:
            stream.write(
                f"{self.command} {len(part) if self.command == 'GET' else 0} {self.headers.get('X-Token')}\n"
            )
        if self.command == "GET":
            self.wfile.write(part[: len(part) // 2] if manner == "dies" else part)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
