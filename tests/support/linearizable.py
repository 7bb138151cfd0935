"""Is there an order of these calls, each within its time, in which one register gives these answers? (Wing and Gong's search.)"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal, NamedTuple


class State(NamedTuple):
    """A record as its readers see it: its revision and the value of its one field."""

    rev: int
    value: int | None


@dataclass(frozen=True)
class Call:
    """One call of one client, `began` and `ended` by one clock.

    A `read` answered `seen`. A `write` of `value` answered `seen`, or "refused" when it had asked for the revision `only_at`.
    A write whose outcome is unknown has `seen` None and ends never: it may happen at any time after it began, or not at all.
    """

    kind: Literal["read", "write"]
    began: float
    ended: float
    seen: State | Literal["refused"] | None
    value: int | None = None
    only_at: int | None = None

    def after(self, state: State) -> Iterator[State]:
        """The states in which the register may be when this call has happened; none: it cannot happen here with that answer."""
        if self.kind == "read":
            if self.seen == state:
                yield state
            return
        matches = self.only_at in {None, state.rev}
        written = State(state.rev + 1, self.value)
        if self.seen is None:
            yield state
            if matches:
                yield written
        elif (self.seen == written and matches) or (self.seen == "refused" and not matches):
            yield written if matches else state


def order_of(calls: Sequence[Call], start: State) -> list[int] | None:
    """The places of the calls in an order that explains every answer, or None when there is none.

    Calls that have happened are a set of bits; a set in a state that led nowhere is not tried twice. Exponential at worst, in
    milliseconds for the histories of a test: calls that overlap are few.
    """
    dead: set[tuple[int, State]] = set()
    everything = (1 << len(calls)) - 1
    order: list[int] = []

    def search(done: int, state: State) -> bool:
        if done == everything:
            return True
        if (done, state) in dead:
            return False
        waiting = [at for at in range(len(calls)) if not done >> at & 1]
        # Whoever ended first did so before any call that is to be next had to begin.
        limit = min(calls[at].ended for at in waiting)
        for at in waiting:
            if calls[at].began <= limit:
                for following in calls[at].after(state):
                    order.append(at)
                    if search(done | 1 << at, following):
                        return True
                    order.pop()
        dead.add((done, state))
        return False

    return order if search(0, start) else None


def unknown(call: Call) -> Call:
    """The same write, when nobody answered."""
    return Call("write", call.began, inf, None, call.value, call.only_at)
