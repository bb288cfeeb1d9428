"""Numbers in words, for people."""

__all__ = ["bytes_text", "count_text", "percent_text", "short_text", "time_text"]


def bytes_text(value: float) -> str:
    """Bytes in the unit that suits them."""
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            digits = ".0f" if unit == "B" or value >= 999.5 else ".3g"
            return f"{value:{digits}} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"


def count_text(value: float) -> str:
    """A whole number with separators."""
    return f"{value:,.0f}"


def short_text(value: float) -> str:
    """A number in three or four digits."""
    for limit, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= 10 * limit or value >= limit > 1e3:
            return f"{value / limit:.4g}{suffix}"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def time_text(milliseconds: float) -> str:
    """A time in the unit that suits it."""
    if milliseconds < 1:
        return f"{1e3 * milliseconds:.4g} µs"
    return f"{milliseconds:.4g} ms"


def percent_text(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.1f}%" if value >= 0.001 or value == 0 else f"{100 * value:.2g}%"
