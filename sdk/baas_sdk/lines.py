"""Lines of a stream that comes in pieces."""


class Lines:
    """Cuts at newlines alone: other line ends of Unicode stand inside texts."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that this piece completes."""
        *done, rest = piece.split(b"\n")
        if done:
            done[0] = b"".join([*self._rest, done[0]])
            self._rest = []
        self._rest.append(rest)
        return done

    def end(self) -> bytes:
        """What stood behind the last newline."""
        return b"".join(self._rest)
