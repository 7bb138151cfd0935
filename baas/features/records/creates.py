"""How many records somebody without a name may make: what a form in public invites is a machine that fills it in all day."""

import time

from baas.base.errors import Invalid
from baas.infra.http.admission import AddressRate
from baas.infra.http.context import Context

COUNTER = "baas.creates"
"""The key in a scope of what counts instead: a batch is tried more than once, and its records count once."""
_WINDOW_S = 5.0


class AnonymousCreates:
    """Counts what an address creates without a credential, whichever door it takes; tries count, whatever comes of them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        said = "One address may create {} records without a sign-in"
        self._rate = AddressRate(limit, window_s=_WINDOW_S, name="creates", said=said)

    def take(self, context: Context, records: int) -> None:
        """Raises TooManyRequests, and then these are not counted; Invalid (`limit_exceeded`) for more than ever pass at once."""
        if records and context.principal.kind == "anonymous":
            self.check_size(records)
            self._rate.take(context.address, time.monotonic(), records)

    def check_size(self, records: int) -> None:
        """Raises Invalid: to wait, as a 429 asks, would not help."""
        if records > self.limit:
            message = f"One call creates at most {self.limit} records without a sign-in."
            raise Invalid(message, code="limit_exceeded", limit=self.limit)


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
            if context.principal.kind == "anonymous":
                self._creates.check_size(self._now)
            self._creates.take(context, self._now - self._taken)
            self._taken = self._now
