"""``data_array.sarc.to_file("scene.sarc", quality=60)``, also of datasets.

Importing this module registers the accessor, as importing rioxarray does ``rio``. The engine imports it, so it is
also there once xarray has looked for engines: after the first ``xarray.open_dataset``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Unpack

from sarcodec import errors

try:
    import xarray
except ImportError as cause:
    raise errors.MissingExtra("xarray", "xarray") from cause

if TYPE_CHECKING:
    from sarcodec import radiometry
    from sarcodec.codec import codec, encoding
    from sarcodec.scene import asking, decision


@xarray.register_dataset_accessor("sarc")  # type: ignore[no-untyped-call]
@xarray.register_dataarray_accessor("sarc")  # type: ignore[no-untyped-call]
class SarcAccessor:
    """What sarcodec does with an array or dataset: see :mod:`sarcodec.raster.labelled` for what is kept of it."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def to_file(
        self,
        path: str | os.PathLike[str],
        model: str | os.PathLike[str] | codec.Codec | None = None,
        *,
        quantity: radiometry.Quantity | str | None = None,
        options: encoding.Options | None = None,
        overwrite: bool = False,
        advance: codec.Advance | None = None,
        **asked: Unpack[asking.Asked],
    ) -> decision.Size:
        """Compress to a ``.sarc`` file, which ``xarray.open_dataset`` opens.

        Parameters
        ----------
        path : path
            The file to write; appears whole or not at all.
        model, quantity, options, overwrite, advance, **asked
            As of :func:`sarcodec.compress_file`: ``quality=60``, ``bpp=0.5``, ``ratio=32``, ``psnr=32``, ``rmse=0.8``
            or ``max_error=1``; ``nodata=-9999``, ``accept_loss``.

        Returns
        -------
        Size
            Of the file, and what the pixels were taken for.

        Raises
        ------
        InputError, AmbiguousQuantity, OutputError
            For an unusable array, one whose quantity cannot be told, or an output that cannot be written.
        """
        from sarcodec.scene import files

        return files.compress_file(
            self._data, path, model, quantity=quantity, options=options, overwrite=overwrite, advance=advance, **asked
        )

    def compress(
        self,
        *,
        quantity: radiometry.Quantity | str | None = None,
        model: str | os.PathLike[str] | codec.Codec | None = None,
        **asked: Unpack[asking.Asked],
    ) -> bytes:
        """Compress to the bytes of a ``.sarc`` file; parameters and errors as of :func:`sarcodec.compress`."""
        from sarcodec.scene import arrays

        return arrays.compress(self._data, quantity=quantity, model=model, **asked)
