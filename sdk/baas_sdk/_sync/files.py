# Made from _async/files.py by sdk/unasync.py; change that one.
"""Files in buckets, streamed both ways."""

from collections.abc import Iterable, Iterator, Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from baas_sdk._sync.compat import blocking
from baas_sdk._sync.paging import id_of, page_of
from baas_sdk._sync.transport import Transport, Call, parsed
from baas_sdk.errors import ConfigError, ConnectionFailed
from baas_sdk.landing import Landing
from baas_sdk.models import File, Page, Progress
from baas_sdk.sources import PIECE_BYTES, Source, Upload, examine, guessed_type
from baas_sdk.wire import path_of, segment


class Download:
    """A file being read. `file` is what its headers tell."""

    def __init__(self, pieces: Callable[[], Iterator[bytes]], headers: Mapping[str, str]) -> None:
        self._pieces = pieces
        self.content_type = headers.get("Content-Type", "application/octet-stream")
        self.size = int(headers["Content-Length"]) if "Content-Length" in headers else None
        self.etag = headers.get("ETag")

    def iter_bytes(self) -> Iterator[bytes]:
        """The content, piece by piece, once.

        Raises:
            ConnectionFailed: the connection broke before the end.
        """
        return self._pieces()

    def read(self) -> bytes:
        """The whole content; for files that fit into memory.

        Raises: as `iter_bytes`.
        """
        return b"".join([piece for piece in self.iter_bytes()])


class Bucket:
    """The files of one bucket, as the caller's rules allow. Made by `client.bucket(...)`."""

    def __init__(self, transport: Transport, name: str) -> None:
        self.name = name
        self._transport = transport
        self._path = transport.options.path_of(f"buckets/{segment(name)}/files")

    def upload(
        self,
        source: Source,
        *,
        key: str | None = None,
        content_type: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> File:
        """Stores a file under `key`, replacing what is there. `source` is a Path, bytes, an open binary file, or pieces of bytes.

        A Path or named file gives its own name for a key. Sent in pieces, from wherever the source is; repeated after a
        failure when the source can be read again.

        Raises:
            TooLarge, Invalid: the bucket takes no such file. Forbidden, NotAuthenticated: its rules say no.
            NotFound: there is no such bucket. ConfigError: the source cannot be read, or a key is missing.
        """
        upload = blocking(examine, source)
        name = key if key is not None else upload.name
        if name is None:
            raise ConfigError("This source has no name of its own: say key=….")
        return File(self._put(upload, name, content_type or guessed_type(name), {}, on_progress))

    def create(self, source: Source, *, key: str, content_type: str | None = None) -> File:
        """Stores a file under a key that must be free.

        Raises:
            PreconditionFailed: there is a file with this key. Others: as `upload`.
        """
        upload = blocking(examine, source)
        return File(self._put(upload, key, content_type or guessed_type(key), {"If-None-Match": "*"}, None))

    def download(self, key: str, *, to: Path) -> Path:
        """Writes the file to `to`: beside it first and renamed at the end, so that `to` is never half a file.

        A folder as `to` gets the file under its own name. A connection that breaks is taken up where it broke.

        Raises:
            NotFound: there is no such file, or it is hidden. ConnectionFailed: it broke for good.
            OSError: the disk refuses.
        """
        target = to / key.rsplit("/", 1)[-1] if blocking(to.is_dir) else to
        landing = blocking(Landing, target)
        try:
            self._fetch(key, landing.file)
            blocking(landing.commit)
        except BaseException:
            landing.discard()
            raise
        return target

    def read(self, key: str) -> bytes:
        """The whole content; for files that fit into memory.

        Raises: as `download`.
        """
        with self.open(key) as download:
            return download.read()

    @contextmanager
    def open(self, key: str) -> Iterator[Download]:
        """The file as a stream: `with photos.open(key) as file: for piece in file.iter_bytes(): …`.

        Raises: as `download`.
        """
        call = Call("GET", self._item(key), headers={"Accept": "*/*", "Accept-Encoding": "identity"})
        with self._transport.stream(call) as response:
            yield Download(lambda: response.iter_bytes(PIECE_BYTES), response.headers)

    def metadata(self, key: str) -> File:
        """What is known of a file, without its content.

        Raises:
            NotFound: there is no such file, or it is hidden.
        """
        page = self.list(prefix=key, limit=100)
        found = next((file for file in page.items if file.path == key), None)
        if found is not None:
            return found
        response = self._transport.send(Call("HEAD", self._item(key)))
        headers = response.headers
        described = {"path": key, "name": key.rsplit("/", 1)[-1], "content_type": headers.get("Content-Type")}
        return File({**described, "size": int(headers["Content-Length"]), "sha256": headers.get("ETag", "").strip('"')})

    def list(
        self, *, prefix: str | None = None, delimiter: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[File]:
        """One page of files in the order of their keys; `delimiter="/"` keeps to one folder."""
        query = {"prefix": prefix, "delimiter": delimiter, "limit": limit, "cursor": cursor}
        return page_of(self._transport, self._path, File, query)

    def iter(self, *, prefix: str | None = None, page_size: int = 100) -> Iterator[File]:
        """Every file, page after page."""
        cursor: str | None = None
        while True:
            page = self.list(prefix=prefix, limit=page_size, cursor=cursor)
            for file in page.items:
                yield file
            cursor = page.next_cursor
            if cursor is None:
                return

    def delete(self, file: File | str) -> None:
        """Deletes a file.

        Raises:
            NotFound: there is no such file, or it is hidden. Forbidden: the delete rule says no.
        """
        path = self._item(id_of(file, "path"))
        self._transport.json("DELETE", path)

    def _item(self, key: str) -> str:
        return f"{self._path}/{path_of(key)}"

    def _put(
        self,
        upload: Upload,
        key: str,
        content_type: str,
        headers: Mapping[str, str],
        on_progress: Callable[[Progress], None] | None,
    ) -> Mapping[str, object]:
        length = {} if upload.size is None else {"Content-Length": str(upload.size)}
        call = Call(
            "PUT",
            self._item(key),
            content=lambda: pieces_of(upload, on_progress),
            headers={"Content-Type": content_type, **length, **headers},
            replays=upload.replays,
        )
        answer: Mapping[str, object] = parsed(self._transport.send(call))
        return answer

    def _fetch(self, key: str, file: BinaryIO) -> None:
        """The whole file into `file`; after a break the rest of it, or all of it when it has changed meanwhile."""
        etag: str | None = None
        for breaks_left in reversed(range(self._transport.options.max_retries + 1)):
            written = blocking(file.tell)
            resume = {"Range": f"bytes={written}-", "If-Range": etag} if written and etag is not None else {}
            headers = {"Accept": "*/*", "Accept-Encoding": "identity", **resume}
            call = Call("GET", self._item(key), headers=headers)
            try:
                with self._transport.stream(call) as response:
                    if response.status_code != 206:
                        blocking(file.seek, 0)
                        blocking(file.truncate)
                    etag = response.headers.get("ETag")
                    for piece in response.iter_bytes(PIECE_BYTES):
                        blocking(file.write, piece)
                return
            except ConnectionFailed:
                if not breaks_left:
                    raise


def pieces_of(upload: Upload, on_progress: Callable[[Progress], None] | None = None) -> Iterator[bytes]:
    """An upload's bytes from the start, telling how far it is after each piece was taken."""
    sent = 0
    for piece in _raw_pieces(upload):
        yield piece
        sent += len(piece)
        if on_progress is not None:
            on_progress(Progress(sent, upload.size))


def _raw_pieces(upload: Upload) -> Iterator[bytes]:
    if upload.content is not None:
        for start in range(0, len(upload.content), PIECE_BYTES):
            yield upload.content[start : start + PIECE_BYTES]
    elif upload.path is not None:
        file = blocking(upload.path.open, "rb")
        with file:
            while piece := blocking(file.read, PIECE_BYTES):
                yield _bytes(piece)
    elif upload.file is not None:
        if upload.replays:
            blocking(upload.file.seek, upload.start)
        while piece := blocking(upload.file.read, PIECE_BYTES):
            yield _bytes(piece)
    elif isinstance(upload.pieces, Iterable):
        for piece in upload.pieces:
            yield _bytes(piece)
    elif isinstance(upload.pieces, Iterable):
        for piece in upload.pieces:
            yield _bytes(piece)
    else:
        raise ConfigError(f"A {type(upload.pieces).__name__} cannot be read by this kind of client.")


def _bytes(piece: object) -> bytes:
    if not isinstance(piece, bytes):
        raise ConfigError(f"An upload gave {type(piece).__name__} where bytes belong; open files with 'rb'.")
    return piece
