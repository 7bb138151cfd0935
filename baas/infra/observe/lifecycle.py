"""Where the server is in its life; the one thing that the process and the parts share."""

import asyncio


class Lifecycle:
    """`draining` is set once, when the server begins to stop: readiness says no from then on, streams end by themselves."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()

    def is_draining(self) -> bool:
        return self.draining.is_set()

    def begin_draining(self) -> None:
        self.draining.set()
