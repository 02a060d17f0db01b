"""sarcodec: compress SAR backscatter with learned transforms, and count every byte.

The public names are loaded when they are first used; importing the package alone loads no torch and no rasterio.
"""

from typing import TYPE_CHECKING, Any

from sarcodec._version import __version__

if TYPE_CHECKING:
    from sarcodec.autoencoder.normalization import Normalizer
    from sarcodec.codec.codec import Codec
    from sarcodec.container.archive import Reader
    from sarcodec.errors import SarcodecError
    from sarcodec.looks.quicklook import quicklook
    from sarcodec.metrics.summary import Metrics, evaluate
    from sarcodec.radiometry import Quantity
    from sarcodec.scene.arrays import compress, decompress
    from sarcodec.scene.files import compress_file, decompress_file
    from sarcodec.scene.model_store import open_codec
    from sarcodec.scene.opened import open
else:
    _HOMES = {
        "Codec": "codec.codec",
        "Metrics": "metrics.summary",
        "Normalizer": "autoencoder.normalization",
        "Quantity": "radiometry",
        "Reader": "container.archive",
        "SarcodecError": "errors",
        "compress": "scene.arrays",
        "compress_file": "scene.files",
        "decompress": "scene.arrays",
        "decompress_file": "scene.files",
        "evaluate": "metrics.summary",
        "open": "scene.opened",
        "open_codec": "scene.model_store",
        "quicklook": "looks.quicklook",
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
    "quicklook",
]
