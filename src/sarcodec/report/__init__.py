"""A report: one self-contained HTML page that shows what compression did to an image.

The page is put together from packaged templates; pictures are embedded, charts are inline SVG whose colours are
those of the page, so that they follow its light and dark scheme. It loads nothing.
"""

from sarcodec.pages.figures import format_figure
from sarcodec.report.writer import write_report

__all__ = ["format_figure", "write_report"]
