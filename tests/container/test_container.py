import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest

from sarcodec import errors
from sarcodec.container import archive as container_archive
from sarcodec.container import header as container_header
from sarcodec.container import masks
from sarcodec.container.header import Band, Header

HEADER = Header(
    raster={"count": 2, "height": 70, "width": 40, "dtype": "float32", "tags": {"PLACE": "Žilina"}},
    quantity="db",
    model="0123456789abcdef",
    architecture="plain",
    stride=16,
    channels=3,
    step=2,
    tile=64,
    bands=(Band(-30.5, 5.25, 0.001), Band(-35.0, 1.0)),
    created_by="0.1.0",
    extra={"product": "S1A"},
)
RNG = np.random.default_rng(8)
ENTRIES = {
    container_archive.tile_name(band, row, 0): RNG.bytes(40 + 8 * band + row) for band in range(2) for row in range(2)
} | {container_archive.mask_name(0, 0, 0): masks.pack_mask((RNG.random((64, 40)) < 0.02).astype(np.uint8))}
LIMIT = 4096


def made(header: Header = HEADER) -> bytes:
    buffer = io.BytesIO()
    with container_archive.Writer(buffer) as writer:
        for name, data in ENTRIES.items():
            writer.add(name, data, deflate=name.endswith("m"))
        writer.finish(header)
    return buffer.getvalue()


FILE = made()


def content(data: bytes) -> tuple[Header, dict[str, bytes]]:
    with container_archive.Reader(io.BytesIO(data)) as reader:
        return reader.header, {name: reader.read(name, LIMIT) for name in ENTRIES if name in reader}


def rebuilt(change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]], method: int = 0) -> bytes:
    """Build the archive again with zipfile after a change to its entries."""
    with zipfile.ZipFile(io.BytesIO(FILE)) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in change(entries):
            archive.writestr(name, data)
    return buffer.getvalue()


def with_record(**changes: object) -> bytes:
    """Build the archive again with a header record that was changed; None removes a key."""

    def change(entries: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        record = json.loads(entries[-1][1]) | changes
        record = {key: value for key, value in record.items() if value is not None}
        return [*entries[:-1], (container_archive.HEADER, json.dumps(record).encode())]

    return rebuilt(change)


def refused(data: bytes, match: str | None = None) -> None:
    with pytest.raises(errors.FormatError, match=match):
        content(data)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.sarc"
    path.write_bytes(FILE)
    for source in (path, str(path), io.BytesIO(FILE)):
        with container_archive.Reader(source) as reader:
            assert reader.header == HEADER
            assert reader.header.shape == (2, 70, 40)
            for name, data in ENTRIES.items():
                assert name in reader
                assert reader.read(name, len(data)) == data
            assert container_archive.tile_name(1, 9, 9) not in reader
            with pytest.raises(errors.FormatError, match=r"entry 1/9\.9 is missing"):
                reader.read("1/9.9", LIMIT)


def test_writing_to_a_path_gives_the_same_bytes(tmp_path: Path) -> None:
    with container_archive.Writer(tmp_path / "a.sarc") as writer:
        for name, data in ENTRIES.items():
            writer.add(name, data, deflate=name.endswith("m"))
        writer.finish(HEADER)
    assert (tmp_path / "a.sarc").read_bytes() == FILE == made()


def test_header_round_trip_through_json() -> None:
    assert Header.from_dict(json.loads(json.dumps(HEADER.to_dict()))) == HEADER


def test_it_is_an_ordinary_zip() -> None:
    with zipfile.ZipFile(io.BytesIO(FILE)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [*ENTRIES, "header.json"]
        for name, data in ENTRIES.items():
            assert archive.read(name) == data
            kind = zipfile.ZIP_DEFLATED if name.endswith("m") else zipfile.ZIP_STORED
            assert archive.getinfo(name).compress_type == kind
        assert json.loads(archive.read("header.json"))["format"] == "sarcodec"


def test_sizes_sum_to_the_file() -> None:
    with container_archive.Reader(io.BytesIO(FILE)) as reader:
        sizes = reader.sizes()
        assert reader.read("0/0.0", LIMIT) == ENTRIES["0/0.0"]
    assert sizes["total"] == len(FILE) == sum(sizes[k] for k in ("symbols", "masks", "header", "structure"))
    assert sizes["symbols"] == sum(len(data) for name, data in ENTRIES.items() if not name.endswith("m"))
    assert 0 < sizes["masks"] < len(ENTRIES["0/0.0m"]) + 20
    assert min(sizes.values()) > 0


def test_every_truncation_is_refused() -> None:
    with zipfile.ZipFile(io.BytesIO(FILE)) as archive:
        boundaries = [entry.header_offset for entry in archive.infolist()] + [archive.start_dir]
    for length in sorted({*boundaries, *range(0, len(FILE), 37), len(FILE) - 1}):
        refused(FILE[:length])


@pytest.mark.parametrize("mask", [0xFF, 0x01, 0x80])
def test_no_flipped_byte_changes_the_content_silently(mask: int) -> None:
    """Some bytes of a ZIP do not matter (times, attributes): the content is the same or the file is refused."""
    expected = content(FILE)
    noticed = 0
    positions = range(mask % 3, len(FILE), 3)
    for position in positions:
        damaged = bytearray(FILE)
        damaged[position] ^= mask
        try:
            assert content(bytes(damaged)) == expected
        except errors.FormatError:
            noticed += 1
    assert noticed > len(positions) / 2


@pytest.mark.parametrize(
    "data", [b"", b"just some text\n" * 50, b"PK\x03\x04" + bytes(100), b"PK\x05\x06" + bytes(18), bytes(5000)]
)
def test_foreign_files_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "foreign.sarc"
    path.write_bytes(data)
    with pytest.raises(errors.FormatError, match=r"foreign\.sarc"):
        container_archive.Reader(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.FormatError, match="no such file"):
        container_archive.Reader(tmp_path / "none.sarc")
    with pytest.raises(errors.FormatError):
        container_archive.Reader(tmp_path)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[1]", b"null", b'"sarcodec"', b"\xff\xfe", b"[" * 200_000, b'{"format": "other"}', b"{}"]
)
def test_a_zip_with_another_header_is_refused(text: bytes) -> None:
    refused(rebuilt(lambda entries: [*entries[:-1], (container_archive.HEADER, text)]), "header")


def test_a_zip_without_header_is_refused() -> None:
    refused(rebuilt(lambda entries: [("readme.txt", b"hello")]), r"header\.json is missing")


def test_a_newer_version_asks_for_a_newer_package() -> None:
    refused(with_record(version=3), "version 3, .* install a newer sarcodec")
    refused(with_record(version=None))
    refused(with_record(version="1"))


def test_rebuilding_unchanged_is_accepted() -> None:
    """The refusals below are of the change, not of the rebuilding."""
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        assert content(rebuilt(lambda entries: entries, method)) == content(FILE)
    assert content(with_record()) == content(FILE)


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e[1:],
        lambda e: [("0/9.9", b"new"), *e],
        lambda e: [("0/9.9", e[0][1]), *e[1:]],
        lambda e: [(e[0][0], e[1][1]), (e[1][0], e[0][1]), *e[2:]],
        lambda e: [(e[0][0], b"x" * len(e[0][1])), *e[1:]],
        lambda e: [(e[0][0], e[0][1] + b"\0"), *e[1:]],
    ],
    ids=["missing", "extra", "renamed", "swapped", "replaced", "longer"],
)
def test_other_entries_than_it_was_written_with_are_refused_at_open(change) -> None:
    with pytest.raises(errors.FormatError, match="its entries are not those it was written with"):
        container_archive.Reader(io.BytesIO(rebuilt(change)))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("which", [0, -1])
def test_an_entry_twice_is_refused(which: int) -> None:
    refused(rebuilt(lambda entries: [*entries, entries[which]]), "twice")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_compression_is_refused(method: int) -> None:
    refused(rebuilt(lambda entries: entries, method), "neither stored nor deflated")


RASTER = dict(HEADER.raster)
MODEL = [HEADER.model, HEADER.architecture]
ONE = [-30, 5, 0]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"raster": RASTER | {"height": container_header.MAX_SIDE + 1}}, "height"),
        ({"raster": RASTER | {"height": 0}}, "height"),
        ({"raster": RASTER | {"width": 10**12}}, "width"),
        ({"raster": RASTER | {"width": -5}}, "width"),
        ({"raster": RASTER | {"count": container_header.MAX_BANDS + 1}, "bands": [ONE] * 1025}, "bands"),
        ({"raster": RASTER | {"count": 0}, "bands": []}, "bands"),
        ({"raster": RASTER | {"count": 3}}, "bands"),
        ({"model": [*MODEL, 128, 3]}, "stride"),
        ({"model": [*MODEL, 0, 3]}, "stride"),
        ({"model": [*MODEL, 16, container_header.MAX_CHANNELS + 1]}, "channels"),
        ({"model": [*MODEL, 16, 0]}, "channels"),
        ({"tile": 2 * container_header.MAX_TILE}, "tile"),
        ({"tile": 0}, "tile"),
        ({"tile": 65}, "tile 65 for stride 16"),
        ({"step": 0}, "step"),
        ({"step": (1 << 16) + 1}, "step"),
        ({"step": float("inf")}, "malformed"),
        ({"step": float("nan")}, "malformed"),
        ({"tile": "wide"}, "malformed"),
        ({"tile": []}, "malformed"),
        ({"model": MODEL}, "malformed"),
        ({"raster": 7}, "malformed"),
        ({"raster": {"count": 2}}, "malformed"),
        ({"bands": [[1]]}, "malformed"),
        ({"bands": [ONE, ["low", "high", 0]]}, "malformed"),
        ({"extra": 7}, "malformed"),
        ({"quantity": None}, "malformed"),
        ({"created_by": None}, "malformed"),
        ({"digest": None}, "entries"),
        ({"digest": "0" * 16}, "entries"),
    ],
)
def test_absurd_headers_are_refused(changes: dict[str, object], named: str) -> None:
    refused(with_record(**changes), named)


def peak_of(action: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


BOMB = bytes(50_000_000)


def bomb(name: str) -> bytes:
    buffer = io.BytesIO()
    with container_archive.Writer(buffer) as writer:
        writer.add(name, BOMB, deflate=True)
        if name != container_archive.HEADER:
            writer.finish(HEADER)
    return buffer.getvalue()


def test_a_bomb_is_refused_before_memory_is_taken() -> None:
    data = bomb("0/0.0")
    assert len(data) < 100_000
    with container_archive.Reader(io.BytesIO(data)) as reader:

        def read() -> None:
            with pytest.raises(errors.FormatError, match="has 50000000 bytes, more than 4096"):
                reader.read("0/0.0", LIMIT)

        assert peak_of(read) < 1_000_000
    assert peak_of(lambda: refused(bomb(container_archive.HEADER), "more than")) < 3_000_000


def test_a_bomb_that_lies_about_its_size_is_bounded_too() -> None:
    data = bomb(container_archive.HEADER)
    assert data.count((50_000_000).to_bytes(4, "little")) == 2
    liar = data.replace((50_000_000).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    assert peak_of(lambda: refused(liar, "damaged")) < 3_000_000


shapes = st.tuples(st.integers(1, 20), st.integers(1, 20))
codes = st.one_of(st.integers(0, 1), st.integers(0, 6), st.integers(0, 255))


@hypothesis.given(st.data(), shapes)
def test_masks_round_trip(data: st.DataObject, shape: tuple[int, int]) -> None:
    mask = data.draw(hnp.arrays(np.uint8, shape, elements=data.draw(st.sampled_from([codes, st.just(6)]))))
    before = mask.copy()
    packed = masks.pack_mask(mask)
    np.testing.assert_array_equal(mask, before)
    back = masks.unpack_mask(packed, shape)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, mask)
    assert len(packed) <= masks.mask_limit(max(shape))
    for wrong in (packed[:-1], packed + b"\0", b""):
        with pytest.raises(errors.FormatError, match="mask"):
            masks.unpack_mask(wrong, shape)


def test_every_number_of_codes_up_to_all_kinds() -> None:
    for count in (1, 2, 3, 4, 5, 7, 8, 9, 255):
        mask = np.resize(np.arange(count, dtype=np.uint8), (16, 17))
        np.testing.assert_array_equal(masks.unpack_mask(masks.pack_mask(mask), mask.shape), mask)


def test_mask_of_one_code_takes_two_bytes() -> None:
    assert masks.pack_mask(np.full((512, 512), 3, np.uint8)) == b"\x01\x03"


def test_mask_bytes_follow_the_specification() -> None:
    mask = np.array([[0, 3, 5], [0, 3, 0]], np.uint8)
    # codes 0, 3, 5; index planes: low bit 010/010, high bit 001/000; second rows exclusive-or the first
    assert masks.pack_mask(mask) == bytes([3, 0, 3, 5, 0b01000000, 0b00100100])


def test_damaged_masks_never_do_worse_than_other_codes() -> None:
    mask = np.random.default_rng(0).choice(np.array([0, 3, 5], np.uint8), (9, 13))
    packed = masks.pack_mask(mask)
    refusals = 0
    for bit in range(8 * len(packed)):
        damaged = bytearray(packed)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            assert masks.unpack_mask(bytes(damaged), mask.shape).shape == mask.shape
        except errors.FormatError:
            refusals += 1
    assert refusals > 0
    with pytest.raises(errors.FormatError, match="does not list"):
        masks.unpack_mask(bytes([3, 0, 3, 5, 0xFF, 0xFF]), (2, 4))
