"""The wall clock as a part that is handed in, so that a test can hold it still."""

from datetime import UTC, datetime


class Clock:
    """Tells the time; tests hand in one that stands."""

    def now(self) -> datetime:
        """The present moment in UTC, microseconds."""
        return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """`2026-11-20T10:31:07.104233Z`: UTC with `Z` and always six digits (RFC 3339)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
