"""sarcodec: compress SAR backscatter with learned transforms, and count every byte.

The public names are loaded when they are first used; importing the package alone loads no torch and no rasterio.
"""

from typing import TYPE_CHECKING, Any

from sarcodec._version import __version__

if TYPE_CHECKING:
    from sarcodec.codec import Codec
    from sarcodec.container import Reader
    from sarcodec.errors import SarcodecError
    from sarcodec.metrics import Metrics, evaluate
    from sarcodec.model_store import open_codec
    from sarcodec.normalization import Normalizer
    from sarcodec.opened import open
    from sarcodec.radiometry import Quantity
    from sarcodec.scene import compress, compress_file, decompress, decompress_file
else:
    _HOMES = {
        "Codec": "codec",
        "Metrics": "metrics",
        "Normalizer": "normalization",
        "Quantity": "radiometry",
        "Reader": "container",
        "SarcodecError": "errors",
        "compress": "scene",
        "compress_file": "scene",
        "decompress": "scene",
        "decompress_file": "scene",
        "evaluate": "metrics",
        "open": "opened",
        "open_codec": "model_store",
    }

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'sarcodec' has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(f"sarcodec.{_HOMES[name]}"), name)

    def __dir__() -> list[str]:
        return sorted([*globals(), *_HOMES])


__all__ = [
    "Codec",
    "Metrics",
    "Normalizer",
    "Quantity",
    "Reader",
    "SarcodecError",
    "__version__",
    "compress",
    "compress_file",
    "decompress",
    "decompress_file",
    "evaluate",
    "open",
    "open_codec",
]
