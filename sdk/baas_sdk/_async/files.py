"""Files in buckets, streamed both ways."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from baas_sdk._async.compat import blocking
from baas_sdk._async.paging import id_of, page_of
from baas_sdk._async.transport import AsyncTransport, Call, parsed
from baas_sdk.errors import ConfigError, ConnectionFailed
from baas_sdk.landing import Landing
from baas_sdk.models import File, Page, Progress
from baas_sdk.sources import PIECE_BYTES, Source, Upload, examine, guessed_type
from baas_sdk.wire import path_of, segment


class AsyncDownload:
    """A file being read. `file` is what its headers tell."""

    def __init__(self, pieces: Callable[[], AsyncIterator[bytes]], headers: Mapping[str, str]) -> None:
        self._pieces = pieces
        self.content_type = headers.get("Content-Type", "application/octet-stream")
        self.size = int(headers["Content-Length"]) if "Content-Length" in headers else None
        self.etag = headers.get("ETag")

    def iter_bytes(self) -> AsyncIterator[bytes]:
        """The content, piece by piece, once.

        Raises:
            ConnectionFailed: the connection broke before the end.
        """
        return self._pieces()

    async def read(self) -> bytes:
        """The whole content; for files that fit into memory.

        Raises: as `iter_bytes`.
        """
        return b"".join([piece async for piece in self.iter_bytes()])


class AsyncBucket:
    """The files of one bucket, as the caller's rules allow. Made by `client.bucket(...)`."""

    def __init__(self, transport: AsyncTransport, name: str) -> None:
        self.name = name
        self._transport = transport
        self._path = transport.options.path_of(f"buckets/{segment(name)}/files")

    async def upload(
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
        upload = await blocking(examine, source)
        name = key if key is not None else upload.name
        if name is None:
            raise ConfigError("This source has no name of its own: say key=….")
        return File(await self._put(upload, name, content_type or guessed_type(name), {}, on_progress))

    async def create(self, source: Source, *, key: str, content_type: str | None = None) -> File:
        """Stores a file under a key that must be free.

        Raises:
            PreconditionFailed: there is a file with this key. Others: as `upload`.
        """
        upload = await blocking(examine, source)
        return File(await self._put(upload, key, content_type or guessed_type(key), {"If-None-Match": "*"}, None))

    async def download(self, key: str, *, to: Path) -> Path:
        """Writes the file to `to`: beside it first and renamed at the end, so that `to` is never half a file.

        A folder as `to` gets the file under its own name. A connection that breaks is taken up where it broke.

        Raises:
            NotFound: there is no such file, or it is hidden. ConnectionFailed: it broke for good.
            OSError: the disk refuses.
        """
        target = to / key.rsplit("/", 1)[-1] if await blocking(to.is_dir) else to
        landing = await blocking(Landing, target)
        try:
            await self._fetch(key, landing.file)
            await blocking(landing.commit)
        except BaseException:
            landing.discard()
            raise
        return target

    async def read(self, key: str) -> bytes:
        """The whole content; for files that fit into memory.

        Raises: as `download`.
        """
        async with self.open(key) as download:
            return await download.read()

    @asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[AsyncDownload]:
        """The file as a stream: `async with photos.open(key) as file: async for piece in file.iter_bytes(): …`.

        Raises: as `download`.
        """
        call = Call("GET", self._item(key), headers={"Accept": "*/*", "Accept-Encoding": "identity"})
        async with self._transport.stream(call) as response:
            yield AsyncDownload(lambda: response.aiter_bytes(PIECE_BYTES), response.headers)

    async def metadata(self, key: str) -> File:
        """What is known of a file, without its content.

        Raises:
            NotFound: there is no such file, or it is hidden.
        """
        page = await self.list(prefix=key, limit=100)
        found = next((file for file in page.items if file.path == key), None)
        if found is not None:
            return found
        response = await self._transport.send(Call("HEAD", self._item(key)))
        headers = response.headers
        described = {"path": key, "name": key.rsplit("/", 1)[-1], "content_type": headers.get("Content-Type")}
        return File({**described, "size": int(headers["Content-Length"]), "sha256": headers.get("ETag", "").strip('"')})

    async def list(
        self, *, prefix: str | None = None, delimiter: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[File]:
        """One page of files in the order of their keys; `delimiter="/"` keeps to one folder."""
        query = {"prefix": prefix, "delimiter": delimiter, "limit": limit, "cursor": cursor}
        return await page_of(self._transport, self._path, File, query)

    async def iter(self, *, prefix: str | None = None, page_size: int = 100) -> AsyncIterator[File]:
        """Every file, page after page."""
        cursor: str | None = None
        while True:
            page = await self.list(prefix=prefix, limit=page_size, cursor=cursor)
            for file in page.items:
                yield file
            cursor = page.next_cursor
            if cursor is None:
                return

    async def delete(self, file: File | str) -> None:
        """Deletes a file.

        Raises:
            NotFound: there is no such file, or it is hidden. Forbidden: the delete rule says no.
        """
        path = self._item(id_of(file, "path"))
        await self._transport.json("DELETE", path)

    def _item(self, key: str) -> str:
        return f"{self._path}/{path_of(key)}"

    async def _put(
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
        answer: Mapping[str, object] = parsed(await self._transport.send(call))
        return answer

    async def _fetch(self, key: str, file: BinaryIO) -> None:
        """The whole file into `file`; after a break the rest of it, or all of it when it has changed meanwhile."""
        etag: str | None = None
        for breaks_left in reversed(range(self._transport.options.max_retries + 1)):
            written = await blocking(file.tell)
            resume = {"Range": f"bytes={written}-", "If-Range": etag} if written and etag is not None else {}
            headers = {"Accept": "*/*", "Accept-Encoding": "identity", **resume}
            call = Call("GET", self._item(key), headers=headers)
            try:
                async with self._transport.stream(call) as response:
                    if response.status_code != 206:
                        await blocking(file.seek, 0)
                        await blocking(file.truncate)
                    etag = response.headers.get("ETag")
                    async for piece in response.aiter_bytes(PIECE_BYTES):
                        await blocking(file.write, piece)
                return
            except ConnectionFailed:
                if not breaks_left:
                    raise


async def pieces_of(upload: Upload, on_progress: Callable[[Progress], None] | None = None) -> AsyncIterator[bytes]:
    """An upload's bytes from the start, telling how far it is after each piece was taken."""
    sent = 0
    async for piece in _raw_pieces(upload):
        yield piece
        sent += len(piece)
        if on_progress is not None:
            on_progress(Progress(sent, upload.size))


async def _raw_pieces(upload: Upload) -> AsyncIterator[bytes]:
    if upload.content is not None:
        for start in range(0, len(upload.content), PIECE_BYTES):
            yield upload.content[start : start + PIECE_BYTES]
    elif upload.path is not None:
        file = await blocking(upload.path.open, "rb")
        with file:
            while piece := await blocking(file.read, PIECE_BYTES):
                yield _bytes(piece)
    elif upload.file is not None:
        if upload.replays:
            await blocking(upload.file.seek, upload.start)
        while piece := await blocking(upload.file.read, PIECE_BYTES):
            yield _bytes(piece)
    elif isinstance(upload.pieces, AsyncIterable):
        async for piece in upload.pieces:
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
