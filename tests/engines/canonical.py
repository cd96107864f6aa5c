"""One form for the values of all engines, in which what differs in an answer differs."""

import datetime
import decimal
import math

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
# Sums of decimals have up to 38 digits; Python's own context would round them to 28.
EXACT = decimal.Context(prec=100, traps=[decimal.Inexact, decimal.InvalidOperation])


def table(rows) -> list[list]:
    """Rows of canonical values, sorted."""
    return sorted(([value(cell) for cell in row] for row in rows), key=repr)


def value(cell) -> str | None:
    """Integers and decimals by what they are worth, and never the same as a float; instants with a zone as microseconds
    since 1970; bytes in hexadecimal. Engines widen integers to decimals for sums, so those two are one kind."""
    if cell is None:
        return None
    if isinstance(cell, bool):
        return f"bool {cell}"
    if isinstance(cell, (int, decimal.Decimal)):
        # `plus` makes one zero of two.
        return f"exact {EXACT.plus(EXACT.create_decimal(cell)).normalize(EXACT):f}"
    if isinstance(cell, float):
        return f"float {'nan' if math.isnan(cell) else cell.hex()}"
    if isinstance(cell, str):
        return f"text {cell}"
    if isinstance(cell, datetime.datetime):
        return f"instant {(utc(cell) - EPOCH) // datetime.timedelta(microseconds=1)}"
    if isinstance(cell, datetime.date):
        return f"date {cell.isoformat()}"
    if isinstance(cell, (bytes, bytearray, memoryview)):
        return f"bytes {bytes(cell).hex()}"
    raise TypeError(f"no canonical form for {type(cell).__name__}")


def utc(instant: datetime.datetime) -> datetime.datetime:
    """The process is in UTC (`scripts/engines` sets TZ), so an instant that comes without its zone is, too."""
    return instant if instant.tzinfo else instant.replace(tzinfo=datetime.timezone.utc)
