"""A file's header as version 2 has it: deflated with what headers are likely to hold known beforehand."""

from __future__ import annotations

import zlib

from sarcodec import errors

DICTIONARY = (
    b"EPSG:327EPSG:326sigma0 intensityamplitude DNgamma0beta0SOURCEACQUISITION_DATETIFFTAG_DATETIMETIFFTAG_SOFTWARE"
    b'"AREA_OR_POINT":"Point""AREA_OR_POINT":"Area","contains modified Copernicus Sentinel data 20uncalibrated'
    b'"gcps":[["gcp_crs":"EPSG:4326""band_tags":[{"POLARISATION":"units":["max_error_db":0.'
    b'"quantity":"intensity","model":["0000000000000000","bounded",1,1],"step":1,"tile":1024,"bands":[[0.0]]'
    b'"dtype":"uint16","nodata":0.0,"quantity":"dn","seed":1,"descriptions":["VV","VH"],["HH","HV"],'
    b'{"format":"sarcodec","version":2,"created_by":"0.1.0","raster":{"count":1,"height":512,"width":512,'
    b'"dtype":"float32","nodata":"nan","crs":"EPSG:4326","transform":[8.983152841195215e-05,0.0,-10.0,0.0,-8.983152841195'
    b'215e-05,"descriptions":["VV"],"tags":{"ATTRIBUTION":"contains modified Copernicus Sentinel data","SOURCE":"",'
    b'"UNITS":"sigma0 dB"}},"quantity":"db","model":["","lapped",64,4096],"step":1792,"tile":1024,"bands":[[-'
    b']],"digest":"'
)
"""Part of the format: it must never change. Likely pieces of a header, the likeliest last."""


def deflated(text: bytes) -> bytes:
    """Return a header's text in few bytes."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zdict=DICTIONARY)
    return deflate.compress(text) + deflate.flush()


def inflated(data: bytes, limit: int) -> bytes:
    """Undo :func:`deflated`; FormatError for what it does not return, or of more than ``limit`` bytes."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS, zdict=DICTIONARY)
    try:
        text = inflate.decompress(data, limit)
    except zlib.error as cause:
        raise errors.FormatError(f"its header is damaged ({errors.plain(cause)})") from cause
    if not inflate.eof:
        raise errors.FormatError(f"its header is cut off, or of more than {limit} bytes")
    return text
