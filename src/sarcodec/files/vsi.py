"""Sources that are not local files: names by which GDAL opens URLs and its virtual file systems.

A URL may hold credentials: a signature in its query, a user and password before the host. None of them belongs in
a message, a header or a report.
"""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath

_VIRTUAL = re.compile(r"/vsi|[a-z][a-z0-9+.-]+:[:/]", re.IGNORECASE)  # one letter and a colon is a drive
_URL = re.compile(r"[a-z][a-z0-9+.-]+:(//|:)", re.IGNORECASE)
_QUERY = re.compile(r"\?.*(?=\}/)|\?.*", re.DOTALL)
_QUERY_IN_TEXT = re.compile(r"\?[^\s'\"]+")
_USER = re.compile(r"(?<=:/)(/?)[^/?]*@")


def is_virtual(place: str | os.PathLike[str]) -> bool:
    """Tell whether a name is a URL or a path of a virtual file system: ``https://…``, ``s3://…``, ``/vsizip/…``."""
    return _VIRTUAL.match(os.fspath(place)) is not None


def is_url(place: object) -> bool:
    """Tell whether this is the text of a URL, ``https://…``, ``s3://…`` or ``simplecache::https://…``.

    A Path is none: it loses a slash.
    """
    return isinstance(place, str) and _URL.match(place) is not None


def public(place: str | os.PathLike[str]) -> str:
    """Return a name as it may be shown: that of a virtual file without its query, user and password."""
    name = os.fspath(place)
    return _USER.sub(r"\1", _QUERY.sub("?…", name)) if is_virtual(name) else name


def public_text(text: str, place: str | os.PathLike[str]) -> str:
    """Return what GDAL says of a place as it may be shown: nothing in it but what :func:`public` leaves."""
    if not is_virtual(place):
        return text
    for query in _QUERY.findall(os.fspath(place)):
        text = text.replace(query, "?…")
    return _USER.sub(r"\1", _QUERY_IN_TEXT.sub("?…", text))


def stem(place: str | os.PathLike[str]) -> str:
    """Return the last name of a place without suffix and query, for what a file name says of its content."""
    return PurePosixPath(public(place).removesuffix("?…").replace("\\", "/")).stem
