"""Small files to be shown, and a server in a thread of this process."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.control

import sarcodec
import tiny
from sarcodec.serve import library, server

UTM = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 500000, 0, -10, 5400000)}


def image(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """dB without and with a hole of NaN, of two bands."""
    cube = np.stack([tiny.db(shape, seed), tiny.db(shape, seed + 1) - 6])
    cube[:, 20:60, 30:90] = np.nan
    return cube


def write(path: Path, cube: np.ndarray, **place: Any) -> Path:
    """A GeoTIFF and, beside it, a file that is within 0.5 dB of it; returns the path of the file."""
    tif = path.with_suffix(".tif")
    profile = dict(zip(("count", "height", "width"), cube.shape, strict=True))
    with rasterio.open(tif, "w", driver="GTiff", dtype="float32", nodata=float("nan"), **profile, **place) as out:
        out.write(cube)
        out.update_tags(UNITS="sigma0 dB")
        out.descriptions = ("VV", "VH")
    sarcodec.compress_file(tif, path, max_error=0.5)
    return path


def gcps(shape: tuple[int, int]) -> dict[str, Any]:
    """Points of an image that is turned, and bent as no polynomial is."""
    points = []
    for row in np.linspace(0, shape[0], 6):
        for column in np.linspace(0, shape[1], 6):
            bent = 2e-4 * np.sin(row / 200) * np.cos(column / 160)
            x, y = 15 + 1e-4 * column + 2e-5 * row + bent, 42 - 8e-5 * row + 1e-5 * column - bent
            points.append(rasterio.control.GroundControlPoint(row, column, x, y, 0.0))
    return {"gcps": points, "crs": "EPSG:4326"}


class Client:
    def __init__(self, running: server.Server) -> None:
        self.server, self.port = running, running.server_address[1]

    def ask(self, target: str, host: str | None = None, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(method, target, skip_host=True)
            connection.putheader("Host", host or f"127.0.0.1:{self.port}")
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def get(self, target: str) -> bytes:
        status, _, body = self.ask(target)
        assert status == 200, (target, body)
        return body

    def json(self, target: str) -> Any:
        return json.loads(self.get(target))

    def refused(self, target: str) -> tuple[int, str]:
        status, headers, body = self.ask(target)
        assert headers["Content-Type"] == "application/json"
        return status, json.loads(body)["error"]


@contextmanager
def served(*paths: Path, original: Path | None = None) -> Iterator[Client]:
    running = server.Server(library.Library([str(path) for path in paths], original), port=0)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield Client(running)
    finally:
        running.shutdown()
        running.server_close()
        thread.join()
