"""What catalogues say of files: items and catalogues of the SpatioTemporal Asset Catalog (STAC) 1.1, as JSON.

Headers in, records out; no pixel is decoded here.
"""
