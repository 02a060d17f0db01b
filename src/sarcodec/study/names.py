"""How codecs and figures are called on the page of a study."""

from __future__ import annotations

from sarcodec.study import linear_bounds, peers

FIGURES = {"psnr_db": "PSNR", "ssim": "SSIM", "enl_ratio": "ENL ratio", "epi": "EPI"}
CODECS = {
    peers.DEFAULT: "lapped64, the default codec",
    "jpeg2000": "JPEG 2000",
    "jpegxl": "JPEG XL",
    "hevc": "HEVC intra",
    "htj2k": "HTJ2K",
    "sz3": "SZ3",
    "sperr": "SPERR",
    "zfp": "ZFP",
    "lerc": "LERC",
    peers.GAUSSIAN: "Gaussian rate–distortion",
    linear_bounds.KLT: "KLT, 16 × 16",
    linear_bounds.OVERLAPPING: "lapped transform, linear",
}
