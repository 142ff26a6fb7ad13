"""Times and durations as people read them. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Final

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400


def parse(text: str) -> datetime | None:
    """Return a time of the API or of a log, in UTC; None where there is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def parse_moment(text: str, now: datetime) -> datetime | None:
    """Return the time that a person means: as `parse`, or a time of day, the last one."""
    day = parse(f"{now:%Y-%m-%d}T{text}") if ":" in text[:3] else None
    if day is None:
        return parse(text)
    return day if day <= now else day - timedelta(days=1)


def seconds_since(text: str, now: datetime) -> float | None:
    """Return how long ago a time was; None where there is none."""
    at = parse(text)
    return None if at is None else (now - at).total_seconds()


def age(seconds: float | None) -> str:
    """Return a duration in kubectl's short form: the two largest units at most."""
    if seconds is None:
        return "?"
    whole = max(0, int(seconds))
    if whole < 2 * _MINUTE:
        return f"{whole}s"
    if whole < 3 * _HOUR:
        return f"{whole // _MINUTE}m"
    if whole < 2 * _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE}m"
    return f"{whole // _DAY}d"
