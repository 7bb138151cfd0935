"""How many records somebody without a name may make: what a form in public invites is a machine that fills it in all day."""

import time

from baas.infra.http.admission import AddressRate
from baas.infra.http.context import Context

COUNTER = "baas.creates"
"""The key in a scope of what counts instead: a batch is tried more than once, and its records count once."""
_WINDOW_S = 5.0


class AnonymousCreates:
    """Counts what an address creates without a credential, whichever door it takes; tries count, whatever comes of them."""

    def __init__(self, limit: int) -> None:
        said = "One address may create {} records without a sign-in"
        self._rate = AddressRate(limit, window_s=_WINDOW_S, name="creates", said=said)

    def take(self, context: Context, records: int) -> None:
        """Raises TooManyRequests, and then these are not counted. More than the limit at once never pass."""
        if records and context.principal.kind == "anonymous":
            self._rate.take(context.address, time.monotonic(), records)


class OnceCounted:
    """Counts what is created by a work that begins anew: only what it had not come to before."""

    def __init__(self, creates: AnonymousCreates) -> None:
        self._creates = creates
        self._taken = self._now = 0

    def begin(self) -> None:
        self._now = 0

    def take(self, context: Context, records: int) -> None:
        """As `AnonymousCreates.take`."""
        self._now += records
        if self._now > self._taken:
            self._creates.take(context, self._now - self._taken)
            self._taken = self._now
