"""Everything that is measured, in the order of the tables."""

from model import Work
from works import (
    arrays,
    article,
    columns,
    cycle,
    fill,
    frames,
    io,
    memory,
    million,
    one,
    pool,
    postgres,
    protect,
    segments,
    share,
    start,
    whole,
)

WORKS: tuple[Work, ...] = (
    *one.WORKS,
    *pool.WORKS,
    *whole.WORKS,
    *million.WORKS,
    *cycle.WORKS,
    *fill.WORKS,
    *segments.WORKS,
    *io.WORKS,
    *article.WORKS,
    *frames.WORKS,
    *postgres.WORKS,
    *protect.WORKS,
    *arrays.WORKS,
    *columns.WORKS,
    *share.WORKS,
    *start.WORKS,
    *memory.WORKS,
)
