"""XML from files that may come from anyone."""

from __future__ import annotations

from xml.etree import ElementTree

from sarcodec import errors


def parse(data: bytes, name: str) -> ElementTree.Element:
    """Return the root element; FormatError for what is no XML, or declares a document type (entities may explode)."""
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise errors.FormatError(f"{name}: declares a document type, which no file of a product does")
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as cause:
        raise errors.FormatError(f"{name}: is not valid XML, or truncated ({errors.plain(cause)})") from cause


def text(root: ElementTree.Element, path: str, name: str) -> str:
    """Return the text of the first element at a path; FormatError where there is none."""
    found = (root.findtext(path) or "").strip()
    if not found:
        raise errors.FormatError(f"{name}: has no {path}")
    return found


def whole_number(root: ElementTree.Element, path: str, name: str) -> int:
    """Return the number at a path, 1 or more; FormatError for anything else."""
    found = text(root, path, name)
    if not (found.isascii() and found.isdigit() and 0 < len(found) < 10 and int(found) > 0):
        raise errors.FormatError(f"{name}: {path} is {errors.plain(repr(found))}, not a positive whole number")
    return int(found)
