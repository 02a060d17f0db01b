"""What the metrics share: pairs of images checked, and windows of them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarcodec import errors

Image = NDArray[np.float64]
Mask = NDArray[np.bool_]
_MAX_ABS_DB = 300.0


def checked(original_db: ArrayLike, restored_db: ArrayLike, valid: ArrayLike) -> tuple[Image, Image, Mask]:
    """Validate the arguments; images come back as float64 with every invalid pixel overwritten by 0."""
    mask = np.asarray(valid)
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise errors.InputError(f"valid: got {mask.dtype} of shape {mask.shape}; pass a 2-D bool array")
    images: list[Image] = []
    for name, image in (("original_db", np.asarray(original_db)), ("restored_db", np.asarray(restored_db))):
        if image.dtype.kind not in "fiu":
            raise errors.InputError(f"{name}: got dtype {image.dtype}; pass real numbers in dB")
        if image.shape != mask.shape:
            raise errors.InputError(f"{name}: shape {image.shape}, valid: {mask.shape}; pass one 2-D shape")
        if lost := int(np.count_nonzero(~np.isfinite(image) & mask)):
            raise errors.InputError(f"{name}: {lost} valid pixels are not finite; repair or invalidate them")
        images.append(np.where(mask, image, 0).astype(np.float64))
    return images[0], images[1], mask


def windows(image: NDArray[Any], size: int) -> NDArray[Any]:
    """Cut (H, W) into side-by-side windows, shape (n, size²); incomplete ones are dropped."""
    rows, columns = (side // size for side in image.shape)
    blocks = image[: rows * size, : columns * size].reshape(rows, size, columns, size)
    return blocks.swapaxes(1, 2).reshape(rows * columns, size * size)


def intensity(image_db: Image) -> Image:
    """Linear intensity of an image in dB, which is clipped to what float64 can square."""
    return np.asarray(10.0 ** (np.clip(image_db, -_MAX_ABS_DB, _MAX_ABS_DB) / 10.0))
