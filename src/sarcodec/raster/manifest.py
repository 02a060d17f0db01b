"""What the manifest of a Sentinel-1 product lists: its files by kind, and their checksums.

A product in a folder has no other checksum of its measurements than those of the manifest, so they are what tells a
damaged measurement from a sound one: Sentinel-1 Product Specification S1-RS-MDA-52-7441.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import IO

from sarcodec.container import product
from sarcodec.raster import xmltext

NAME = "manifest.safe"
MEASUREMENTS = "s1Level1MeasurementSchema"
"""The ``repID`` of measurements."""

ALGORITHMS = {"MD5": "md5", "SHA256": "sha256", "SHA3256": "sha3_256"}
"""Names of checksums, in capitals and without dashes, and what hashlib calls them; others are not checked."""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A file that a manifest lists: its path in the product, its kind (``repID``), its checksum where it has one."""

    path: str
    kind: str
    algorithm: str = ""
    checksum: str = ""

    def holds(self, stream: IO[bytes]) -> bool:
        """Tell whether a file's bytes have the checksum; reads the file to its end."""
        found = hashlib.new(ALGORITHMS[self.algorithm], usedforsecurity=False) if self.algorithm else None
        while chunk := stream.read(_CHUNK):
            if found:
                found.update(chunk)
        return found is None or found.hexdigest() == self.checksum


def entries(data: bytes) -> list[Entry]:
    """Return what a manifest lists, there or not; FormatError for no XML, or a measurement's unsafe path."""
    found = []
    for element in xmltext.parse(data, NAME).iter("dataObject"):
        location, checksum = element.find("byteStream/fileLocation"), element.find("byteStream/checksum")
        if location is None:
            continue
        path, kind = location.get("href", "").removeprefix("./"), element.get("repID", "")
        if kind == MEASUREMENTS:
            product.check_path(path)
        name = "" if checksum is None else checksum.get("checksumName", "").upper().replace("-", "")
        text = "" if checksum is None else (checksum.text or "").strip().lower()
        found.append(Entry(path, kind, name, text) if name in ALGORITHMS else Entry(path, kind))
    return found
