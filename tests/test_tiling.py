import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from sarcodec import errors
from sarcodec.tiling import TileGrid, Window

SIZES = [(1, 1), (1, 5000), (5000, 1), (257, 300), (64, 64), (65, 129), (63, 1), (130, 66), (200, 191)]


def check(grid: TileGrid) -> None:
    """Every pixel lies in one core, its weights sum to 1, and all windows lie inside the image."""
    visits = np.zeros((grid.height, grid.width), int)
    total = np.zeros((grid.height, grid.width))
    image = Window(0, grid.height, 0, grid.width)
    tiles = list(grid)
    assert len(tiles) == grid.rows * grid.columns
    for tile in tiles:
        visits[tile.core.slices] += 1
        weights = grid.weights(tile)
        assert weights.dtype == np.float32
        assert weights.shape == tile.blend.shape
        assert weights.min() > 0
        assert weights.max() <= 1
        total[tile.blend.slices] += weights
        assert tile.blend == tile.core.grow(grid.ramp, *image.shape)
        assert tile.outer == tile.core.grow(grid.ramp + grid.margin, *image.shape)
        for inner, outer in [(tile.core, tile.blend), (tile.blend, tile.outer), (tile.outer, image)]:
            assert outer.top <= inner.top < inner.bottom <= outer.bottom
            assert outer.left <= inner.left < inner.right <= outer.right
    assert (visits == 1).all()
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ramp", [0, 1, 7, 32])
def test_cores_partition_the_image_and_weights_sum_to_one(size: tuple[int, int], ramp: int) -> None:
    check(TileGrid(*size, tile=64, ramp=ramp, margin=5))


@hypothesis.given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.data())
def test_any_grid(height: int, width: int, tile: int, data: st.DataObject) -> None:
    check(TileGrid(height, width, tile, data.draw(st.integers(0, tile // 2)), data.draw(st.integers(0, 50))))


def test_a_last_core_narrower_than_the_ramp() -> None:
    grid = TileGrid(10, 64 + 3, 64, ramp=32)
    assert [tile.core.shape[1] for tile in grid.row_tiles(0)] == [64, 3]
    assert [tile.blend.left for tile in grid.row_tiles(0)] == [0, 32]
    check(grid)


def test_the_ramp_is_a_raised_cosine_over_the_border() -> None:
    grid = TileGrid(4, 40, 20, ramp=4)
    rising = grid.weights(grid.at(0, 1))[0, :8]
    np.testing.assert_allclose(rising, 0.5 - 0.5 * np.cos(np.pi * (np.arange(8) + 0.5) / 8), atol=1e-7)
    assert (grid.weights(grid.at(0, 1))[:, 8:] == 1).all()
    np.testing.assert_allclose(grid.weights(grid.at(0, 0))[0, -8:], rising[::-1], atol=1e-7)


def test_row_tiles_are_the_rows_of_the_iteration() -> None:
    grid = TileGrid(70, 50, 16, 2, 1)
    assert [tile for row in range(grid.rows) for tile in grid.row_tiles(row)] == list(grid)
    assert [(tile.row, tile.column) for tile in grid] == list(np.ndindex(5, 4))


@pytest.mark.parametrize(
    "arguments",
    [(0, 5, 8), (5, 0, 8), (5, 5, 0), (-1, 5, 8), (5, 5, 8, 5), (5, 5, 9, 5), (5, 5, 8, -1), (5, 5, 8, 0, -1)],
)
def test_bad_arguments_are_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(errors.InputError, match="tile grid: got"):
        TileGrid(*arguments)


def test_window_inside_finds_the_same_pixels() -> None:
    image = np.arange(30 * 40).reshape(30, 40)
    outer, inner = Window(5, 25, 8, 40), Window(10, 12, 9, 30)
    np.testing.assert_array_equal(image[outer.slices][inner.inside(outer)], image[inner.slices])


def test_window_grow_stops_at_the_borders() -> None:
    window = Window(5, 10, 0, 38)
    assert window.shape == (5, 38)
    assert window.grow(3, 30, 40) == Window(2, 13, 0, 40)
    assert window.grow(99, 30, 40) == Window(0, 30, 0, 40)
    assert window.grow(0, 30, 40) == window


windows = st.builds(
    lambda top, left, height, width: Window(top, top + height, left, left + width),
    *[st.integers(0, 8)] * 2,
    *[st.integers(1, 6)] * 2,
)


@hypothesis.given(windows, windows)
def test_windows_overlap_when_they_share_a_pixel(a: Window, b: Window) -> None:
    count = np.zeros((16, 16), int)
    count[a.slices] += 1
    count[b.slices] += 1
    assert a.overlaps(b) == b.overlaps(a) == (count.max() == 2)


@pytest.mark.parametrize(("left", "right"), [(0, 100), (30, 64), (64, 128), (5, 200), (63, 65)])
def test_panels_cover_a_window_and_begin_at_multiples(left: int, right: int) -> None:
    panels = list(Window(3, 9, left, right).panels(64))
    assert [panel.left for panel in panels] == [left, *(n for n in range(64, right, 64) if n > left)]
    assert [panel.right for panel in panels] == [*(panel.left for panel in panels[1:]), right]
    assert all(panel.shape[0] == 6 and 0 < panel.shape[1] <= 64 for panel in panels)
