"""The page in a real browser: what is drawn, and what hands do to it."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import chrome
import sarcodec
import shown

SHAPE = (300, 280)
IDLE = "document.documentElement.dataset.idle === 'true'"

pytestmark = pytest.mark.skipif(
    chrome.found() is None, reason=f"no browser is here: none of {', '.join(chrome.BROWSERS)}"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    shown.write(folder / "a.sarc", shown.image(SHAPE), **shown.UTM)
    (folder / "plain.sarc").write_bytes(sarcodec.compress(shown.image(SHAPE, 5), quantity="db", max_error=0.5))
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chrome.Page]:
    with chrome.Page(tmp_path_factory.mktemp("browser"), (1100, 700)) as page:
        yield page


def state(page: chrome.Page, name: str) -> float:
    return float(page.run(f"new URLSearchParams(location.hash.slice(1)).get({name!r})"))


def settle(page: chrome.Page) -> None:
    """Wait until all that is wanted is drawn, and a frame more."""
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.until(IDLE)


def drawn(page: chrome.Page, x: float, y: float) -> list[int]:
    """The colour of the canvas at a place of it, red to alpha."""
    return page.run(f"[...pen.getImageData({x} * devicePixelRatio, {y} * devicePixelRatio, 1, 1).data]")


def choose(page: chrome.Page, name: str, value: str) -> None:
    page.run(f"document.querySelector('[name={name}][value={value}]').click()")
    settle(page)


def test_the_image_is_drawn_where_it_lies_and_moves_with_the_hand(page: chrome.Page, made: Path) -> None:
    with shown.served(made / "plain.sarc") as client:
        page.open(client.server.url + "#low=-25&high=0&own=true&x=0.25&y=0.25&zoom=1")
        settle(page)
        tile = np.load(io.BytesIO(client.get("/plain.sarc/pixels/1/0/0.npy")))
        left, top, width, height = page.run("Object.values(canvas.getBoundingClientRect().toJSON()).slice(0, 4)")

        def expected(row: int, column: int) -> float:
            return 255 * min(max((tile[row, column] + 25) / 25, 0), 1)

        for row, column in ((100, 100), (150, 40), (10, 200)):  # pixel 128 is in the middle
            x, y = width / 2 + column - 128, height / 2 + row - 128
            assert drawn(page, x + 0.5, y + 0.5)[0] == pytest.approx(expected(row, column), abs=2)
        hole = drawn(page, width / 2 + 60 - 128, height / 2 + 40 - 128)
        assert hole[3] == 0
        middle = left + width / 2, top + height / 2
        page.drag(middle, (middle[0] - 50, middle[1] + 30))
        settle(page)
        assert state(page, "x") == pytest.approx(0.25 + 50 / 512) and state(page, "y") == pytest.approx(
            0.25 - 30 / 512
        )
        assert drawn(page, width / 2 - 78 + 0.5, height / 2 + 2 + 0.5)[0] == pytest.approx(expected(100, 100), abs=2)
        page.mouse("mouseWheel", middle[0] - 78, middle[1] + 2, deltaX=0, deltaY=-300)
        settle(page)
        assert state(page, "zoom") == pytest.approx(2)  # what was under the pointer still is
        assert drawn(page, width / 2 - 78, height / 2 + 2)[0] == pytest.approx(expected(100, 100), abs=2)
        assert page.complaints() == []


def test_swipe_difference_values_and_bands(page: chrome.Page, made: Path) -> None:
    with shown.served(made / "a.sarc", original=made / "a.tif") as client, sarcodec.open(made / "a.sarc") as file:
        page.open(client.server.url)
        settle(page)
        assert page.run("document.querySelector('[name=view]:checked').value") == "swipe"
        assert page.run("document.querySelector('#right-name').textContent") == "a.tif"
        choose(page, "scheme", "pixels")
        box = page.run("divider.getBoundingClientRect().toJSON()")
        start = box["x"] + box["width"] / 2, box["y"] + 200
        page.drag(start, (start[0] + 100, start[1]))
        assert state(page, "at") == pytest.approx(0.5 + 100 / page.run("canvas.clientWidth"), abs=0.01)
        choose(page, "view", "difference")
        page.run("limit.value = 0.5; limit.dispatchEvent(new Event('change'))")
        settle(page)
        colours = page.run(
            "[...pen.getImageData(0, 0, canvas.width, canvas.height).data].filter((_, n) => n % 4 !== 3)"
        )
        assert np.ptp(np.reshape(colours, (-1, 3)), axis=1).max() > 100  # blue and red, not grey
        row, column = 200, 150
        place = page.run(
            f"((b) => {{ const [l, t] = worldAt(0, 0); return [b.x + ({column}.5 / 512 - l) * side(), "
            f"b.y + ({row}.5 / 512 - t) * side()]; }})(canvas.getBoundingClientRect())"
        )
        page.mouse("mouseMoved", *place)
        page.until("document.querySelectorAll('#values tbody tr').length === 2")
        assert f"row {row}, column {column}" in page.run("document.querySelector('#values caption').textContent")
        shown_values = page.run("[...document.querySelectorAll('#values td')].map((cell) => cell.textContent)")
        left = file.read("VV")[row, column]
        assert float(shown_values[1].replace("−", "-")) == pytest.approx(left, abs=0.006)
        page.run("band.value = 'VH'; band.dispatchEvent(new Event('change'))")
        page.until("new URLSearchParams(location.hash.slice(1)).get('band') === 'VH'")
        assert page.complaints() == []


def test_an_archive_is_a_list_with_quick_looks(page: chrome.Page, made: Path) -> None:
    with shown.served(made) as client:
        page.open(client.server.url)
        settle(page)
        pictures = "[...document.querySelectorAll('#archive img')]"
        page.until(f"{pictures}.length === 2 && {pictures}.every((image) => image.complete)")
        assert page.run(f"{pictures}.map((image) => image.naturalWidth)") == [280, 280]
        page.run("document.querySelectorAll('#archive button')[1].click()")
        page.until("location.hash.includes('left=plain.sarc')")
        settle(page)
        assert page.run("document.querySelector('#schemes').hidden") is True  # it has no place on a map
        page.run("byId('find').value = 'A.S'; byId('find').dispatchEvent(new Event('input'))")
        assert page.run("[...document.querySelectorAll('#archive li')].map((item) => item.hidden)") == [False, True]
        assert page.complaints() == []


def test_a_damaged_file_says_so_on_the_page(page: chrome.Page, made: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.sarc").write_bytes((made / "a.sarc").read_bytes()[:-300])
    with shown.served(tmp_path) as client:
        page.open(client.server.url)
        page.until("document.querySelector('#status.wrong') !== null")
        assert "bad.sarc: not a .sarc file, or truncated" in page.run("document.querySelector('#status').textContent")
