"""The server: HTTP on one address, GET alone, and nothing for pages of other sites."""

from __future__ import annotations

import http.server
import ipaddress
import socket
import sys
from typing import Any

from sarcodec import errors
from sarcodec.serve import answers, library

LOOPBACK = "127.0.0.1"
IDLE_S = 60
"""Seconds that a connection without a request is kept."""
NO_SUCH_HOST = "host: this server does not go by that name; open the address that it printed"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-site",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class Server(http.server.ThreadingHTTPServer):
    """Serves a library until it is shut down.

    Parameters
    ----------
    shown : Library
        What there is to see.
    host : str
        Address or name to listen at; others than those of this machine itself let others see the files.
    port : int
        0 for any that is free.

    Raises InputError for an address that cannot be had.
    """

    daemon_threads = True

    def __init__(self, shown: library.Library, host: str = LOOPBACK, port: int = 0) -> None:
        self.answers, self._host = answers.Answers(shown), host
        try:
            self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as cause:
            raise errors.InputError(
                f"host {host}, port {port}: cannot listen there ({cause}); pass another, or port 0 for a free one"
            ) from cause

    @property
    def url(self) -> str:
        """Where the page is."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.server_address[1]}/"

    def knows(self, host: str) -> bool:
        """Tell whether a request may call this server so.

        A page of another site can have its own name lead here, and would read what it likes (DNS rebinding); it
        cannot have an address lead here, nor the names that this machine goes by.
        """
        name = _name(host)
        if name in ("localhost", self._host.lower()):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return not self._is_local() and name in (socket.gethostname().lower(), socket.getfqdn().lower())
        return not self._is_local() or address.is_loopback

    def _is_local(self) -> bool:
        return ipaddress.ip_address(self.socket.getsockname()[0]).is_loopback

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away; of all else, what there is to say."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def _name(host: str) -> str:
    """Return a Host header without its port and brackets, in small letters."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


class Handler(http.server.BaseHTTPRequestHandler):
    """Carries requests to :class:`answers.Answers`, and answers back."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sarcodec", ""
    timeout = IDLE_S

    def do_GET(self) -> None:
        """Answer."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or not self.server.knows(hosts[0]):
            self._send(answers.refusal(403, NO_SUCH_HOST))
            return
        self._send(self.server.answers.get(self.path))

    def _refuse(self) -> None:
        self.close_connection = True  # what the body holds is not read
        self._send(answers.refusal(405, f"{errors.plain(self.command)}: only GET is answered"), {"Allow": "GET"})

    do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no request of HTTP as all else is answered."""
        self.close_connection = True
        self._send(answers.refusal(code, errors.plain(message or "no request that is understood")))

    def _send(self, answer: answers.Answer, more: dict[str, str] | None = None) -> None:
        self.send_response(answer.status)
        lines = HEADERS | {"Content-Type": answer.kind, "Content-Length": str(len(answer.body))} | (more or {})
        for name, value in lines.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing; a viewer asks for hundreds of tiles."""
