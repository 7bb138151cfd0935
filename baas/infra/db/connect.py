"""Every lasting connection to PostgreSQL begins here, and finds out within fifteen seconds that the other end is gone."""

import socket
from typing import Any

import asyncpg

_SILENCE_S = 15
_PROBE_S = 5
# A machine that lost its power, a network that drops packets, a firewall that forgot the connection: none of them says a word,
# and without this a connection waits for the system's two hours, or for fifteen minutes of sending again. What a system does
# not know by these names keeps its own way.
_KEEPALIVE = (
    ("TCP_KEEPIDLE", _PROBE_S),
    ("TCP_KEEPALIVE", _PROBE_S),  # what macOS calls the former
    ("TCP_KEEPINTVL", _PROBE_S),
    ("TCP_KEEPCNT", _SILENCE_S // _PROBE_S - 1),
    ("TCP_USER_TIMEOUT", _SILENCE_S * 1000),  # of what was sent and never acknowledged
)


async def connect(url: str, **options: Any) -> Any:
    """A connection of the driver's, by its own options; raises what the driver raises."""
    connection: Any = await asyncpg.connect(url, **options)
    _watch(connection._transport.get_extra_info("socket"))  # the driver sets options of its own on it in the same way
    return connection


def _watch(wire: socket.socket) -> None:
    """Nothing where the other end is on this machine, at a socket with a path: the system itself tells of its death."""
    if wire.family not in (socket.AF_INET, socket.AF_INET6):
        return
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        option = getattr(socket, name, None)
        if option is not None:
            wire.setsockopt(socket.IPPROTO_TCP, option, value)
