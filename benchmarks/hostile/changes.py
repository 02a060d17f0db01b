"""Ways to damage bytes, and to put hostile values into JSON and XML; the same from the same random numbers."""

from __future__ import annotations

import json
import random
import re
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 10**400, -1e308, 1e-320, "", "x" * 5000, "\x00\n\x1b[2J", [], {}, [[]],
    [None], {"a": 1}, [1] * 3000, "nan", "../../etc/passwd", [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
)  # fmt: skip
"""Values for the fields of a record."""
TEXTS = (
    "", "-1", "0", "1e999", "nan", "9" * 400, "x" * 5000, "../../etc/passwd", "&#10;&#27;[2J&#8238;", "VV", "1 2 3",
    "\u0665", "true", "&lt;a&gt;", "1.5", "/", ".", "measurement/", "2147483648",
)  # fmt: skip
"""Values for texts and attributes of XML."""


def damage(data: bytes, other: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Damage bytes: flips, a cut, an insertion, a loss, two ranges swapped, a splice with another file."""
    way = rng.choice(("flip", "flips", "truncate", "insert", "delete", "swap", "splice"))
    a, b = sorted(rng.randrange(len(data)) for _ in range(2))
    if way in ("flip", "flips"):
        changed = bytearray(data)
        for _ in range(1 if way == "flip" else rng.randrange(2, 64)):
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return way, bytes(changed)
    if way == "truncate":
        return way, data[:a]
    if way == "insert":
        return way, data[:a] + rng.randbytes(rng.randrange(1, 100)) + data[a:]
    if way == "delete":
        return way, data[:a] + data[min(b, a + rng.randrange(1, 1000)) :]
    if way == "swap":
        length = rng.randrange(1, 200)
        return way, data[:a] + data[b : b + length] + data[a + length : b] + data[a : a + length] + data[b + length :]
    return way, data[:a] + other[min(a, len(other)) :]


def put_hostile(record: Any, rng: random.Random, values: tuple[Any, ...]) -> Any:
    """Change or drop one entry of a JSON value, in place."""
    at = record
    while True:
        key = rng.choice(list(at) if isinstance(at, dict) else list(range(len(at))))
        if isinstance(at[key], dict | list) and at[key] and rng.random() < 0.7:
            at = at[key]
            continue
        if isinstance(at, dict) and rng.random() < 0.1:
            del at[key]
        else:
            at[key] = rng.choice(values)
        return record


def spoil(name: str, data: bytes, other: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Damage a file, or put a hostile value into JSON, lines of JSON or XML, by its name."""
    kind = name.rsplit(".", 1)[-1]
    if kind == "json" and rng.random() < 0.7:
        return "hostile", json.dumps(put_hostile(json.loads(data), rng, VALUES)).encode()
    if kind == "jsonl" and rng.random() < 0.5:
        lines = data.splitlines()
        at = rng.randrange(len(lines))
        lines[at] = json.dumps(put_hostile(json.loads(lines[at]), rng, VALUES)).encode()
        return "hostile", b"\n".join(lines) + b"\n"
    if kind in ("xml", "safe") and rng.random() < 0.6:
        found = list(re.finditer(r'(?<=>)[^<>\n]+(?=<)|(?<==")[^"]*(?=")', data.decode()))
        place, text = rng.choice(found), rng.choice(TEXTS)
        return "hostile", (data.decode()[: place.start()] + text + data.decode()[place.end() :]).encode()
    return damage(data or b"\x00", other, rng)
