"""The codec ``sarcodec`` of numcodecs, for arrays of zarr format 2: every chunk is a ``.sarc`` file.

It is the compressor of an array without filters, for it must be given an image, not its bytes; numcodecs finds it by
its entry point. zarr format 3 has :mod:`sarcodec.plugins.zarr_codec`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.plugins import chunks

try:
    from numcodecs import abc, compat
except ImportError as cause:
    raise errors.MissingExtra("numcodecs", "zarr") from cause


class Sarcodec(abc.Codec):  # type: ignore[misc]
    """Images, float32, int16 or uint16, as ``.sarc`` files; keywords are :class:`chunks.Settings`, and ``nodata``.

    ``nodata`` is the value of pixels that hold nothing: the array's fill value, which a codec of zarr format 2 is not
    told. Zeros of intensity and amplitude, and NaN, hold nothing without it.

    Raises InputError for settings that there are not.
    """

    codec_id = "sarcodec"

    def __init__(self, *, nodata: float | None = None, **settings: Any) -> None:
        self._settings = chunks.Settings.from_dict(settings)
        if nodata is not None and (isinstance(nodata, bool) or not isinstance(nodata, int | float)):
            raise errors.InputError(f"nodata: got {errors.plain(repr(nodata))}; pass a number")
        self._nodata = None if nodata is None or np.isnan(nodata) else nodata

    def encode(self, buf: Any) -> bytes:
        """Code an image, (H, W) or with leading dimensions of 1; InputError for anything else."""
        pixels = np.asarray(buf)
        if pixels.dtype.newbyteorder("<") != pixels.dtype:
            raise errors.InputError(f"dtype: got {pixels.dtype}; numbers must be little-endian, as '<f4' and '<u2'")
        chunks.check_dtype(pixels.dtype)
        chunks.check_shape(pixels.shape)
        image = pixels.reshape(pixels.shape[-2:])
        if image.flags.f_contiguous and not image.flags.c_contiguous:
            image = image.T  # a store lays decoded chunks out as they lay in memory
        return chunks.encode(image, self._settings, self._nodata)

    def decode(self, buf: Any, out: Any = None) -> npt.NDArray[Any]:
        """Restore an image, (H, W), as it lay in memory; FormatError for bytes that are none."""
        pixels = chunks.decode_any(compat.ensure_bytes(buf), self._settings)
        found: npt.NDArray[Any] = compat.ndarray_copy(pixels, out)
        return found

    def get_config(self) -> dict[str, Any]:
        """Return what :meth:`from_config` makes the same codec of, with its name."""
        nodata = {} if self._nodata is None else {"nodata": self._nodata}
        return {"id": self.codec_id, **self._settings.to_dict(), **nodata}

    def __repr__(self) -> str:
        """Return how it is made."""
        config = self.get_config()
        return f"Sarcodec({', '.join(f'{name}={value!r}' for name, value in config.items() if name != 'id')})"
