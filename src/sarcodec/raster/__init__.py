"""Files that hold pixels: GeoTIFF and whatever GDAL opens, Sentinel-1 products; open them by `source`.

Rasterio is known here alone. A new driver is a reader of the protocol in `source` and a line in `source.DRIVERS`.
"""
