"""What a bucket's rules refused, for operators who ask why: noted when it happens, and put together again when they ask."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from baas.base.denial import MAX_DENIED_BYTES, Denial
from baas.base.errors import Fault, Forbidden, Invalid, NotFound, Unauthenticated, did_you_mean
from baas.base.paths import folder_and_name, path_fault
from baas.engines.rules.rule import Rule
from baas.engines.rules.values import is_uuid
from baas.engines.schema.collection import Action
from baas.engines.schema.manifest import pointer
from baas.features.files.headers import BYTES
from baas.features.files.manifest import CONTENT_TYPE
from baas.features.files.model import Change, Draft, File, Upload
from baas.features.files.rules import Access

_BY_RULE = frozenset({"rule_denied", "file_not_found", "unauthenticated"})
_SENT = ("content_type", "size", "sha256", "metadata")
_CONTENT = ("size", "sha256")
_HEX = frozenset("0123456789abcdef")
_LARGEST = (1 << 63) - 1
_LONGEST_NAME = 100  # of an unknown member, in an answer


@contextmanager
def noted(access: Access, action: Action, path: str | None = None, sent: Mapping[str, object] | None = None) -> Iterator[None]:
    """What is refused by a rule in here carries what was asked to the edge, which keeps it for a while."""
    try:
        yield
    except (Forbidden, NotFound, Unauthenticated) as error:
        if error.code in _BY_RULE and not access.principal.privileged:
            done = str(error.facts.get("action", action))
            error.denial = Denial("", done, path, _kept(sent), bucket=access.bucket.name, version=access.bucket.version)
        raise


def said_of(draft: Draft) -> Mapping[str, object]:
    """What an upload says of its file."""
    return {"content_type": draft.content_type, "size": draft.size, "sha256": draft.sha256}


def said_by(change: Change) -> Mapping[str, object]:
    """What a change says of a file whose content stays."""
    given = {"content_type": change.content_type, "metadata": change.metadata}
    return {name: value for name, value in given.items() if value is not None}


def _kept(sent: Mapping[str, object] | None) -> Mapping[str, object] | None:
    """Metadata may be long, and many refusals may be waiting."""
    return sent if sent is None or len(json.dumps(sent, default=str)) <= MAX_DENIED_BYTES else None


@dataclass(frozen=True, slots=True)
class Said:
    """What a caller says of a file, when an operator says it for him."""

    content_type: str | None
    size: int | None
    sha256: str | None
    metadata: Mapping[str, object] | None

    @property
    def is_content(self) -> bool:
        """Whether it is an upload; else it is a change of what is known of the file."""
        return self.size is not None or self.sha256 is not None

    @property
    def upload(self) -> Upload:
        """As an upload, without its bytes."""
        return Upload(_nothing(), self.content_type or BYTES, self.size, self.sha256)

    @property
    def change(self) -> Change:
        return Change(self.metadata, self.content_type)


def read_said(given: Mapping[str, object], action: Action, rule: Rule | None) -> Said:
    """`{"content_type", "size", "sha256"}` of an upload, `{"content_type", "metadata"}` of a change.

    Raises Invalid with every fault. What the `rule` looks at must be there: of a missing size nothing is true.
    """
    faults: list[Fault] = []

    def fault(name: str, code: str, message: str) -> None:
        faults.append(Fault(f"/input/{name}", code, message))

    faults += _strangers(given, _SENT, "/input", "An input of a file")
    kind, size, sha256, metadata = (given.get(name) for name in _SENT)
    if kind is not None and not (isinstance(kind, str) and CONTENT_TYPE.fullmatch(kind)):
        fault("content_type", "bad_type", "A content type such as image/png, in lower case.")
    if size is not None and not (isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= _LARGEST):
        fault("size", "wrong_type", "A number of bytes.")
    if sha256 is not None and not (isinstance(sha256, str) and len(sha256) == 64 and _HEX.issuperset(sha256)):
        fault("sha256", "wrong_type", "64 hexadecimal digits, in lower case.")
    if metadata is not None and not isinstance(metadata, dict):
        fault("metadata", "wrong_type", "This must be an object; null members remove.")
    uploads = action == "create" or size is not None or sha256 is not None
    if metadata is not None and uploads:
        fault("metadata", "not_allowed", "Metadata is changed by a call of its own; an upload has none.")
    for name in _CONTENT if uploads else ():
        if given.get(name) is None and rule is not None and ("next", name) in rule.names:
            fault(name, "required", "The rule looks at this.")
    if faults:
        raise Invalid("The input is not right.", errors=faults)
    return Said(kind, size, sha256, metadata)  # type: ignore[arg-type]  # read above


async def _nothing() -> AsyncIterator[bytes]:
    for piece in [b""]:
        yield piece


_KNOWN = ("path", "owner", "size", "content_type", "sha256", "metadata")


def read_files(rows: Mapping[str, Sequence[Mapping[str, object]]], now: datetime) -> list[File]:
    """Files of a test by bucket: `path`, and what else a rule may look at. Raises Invalid with every fault."""
    faults: list[Fault] = []
    found = []
    for bucket, given in rows.items():
        for number, one in enumerate(given):
            at = pointer("/rows", f"buckets/{bucket}", number)
            wrong = list(_wrong_members(one, at))
            faults += wrong
            if not wrong:
                found.append(_file(bucket, one, now))
    if faults:
        raise Invalid("Some files are not right.", errors=faults[:100])
    return found


def _strangers(given: Mapping[str, object], known: Sequence[str], at: str, what: str) -> Iterator[Fault]:
    """The members that mean nothing, each with the closest that does."""
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known)
            message = f"{what} has {', '.join(known)}." + (f" {hint}" if hint else "")
            yield Fault(pointer(at, name[:_LONGEST_NAME]), "unknown_field", message)


def _wrong_members(given: Mapping[str, object], at: str) -> Iterator[Fault]:
    yield from _strangers(given, _KNOWN, at, "A file")
    path, owner, size, metadata = (given.get(name) for name in ("path", "owner", "size", "metadata"))
    if not isinstance(path, str) or path_fault(path) is not None:
        yield Fault(f"{at}/path", "required", "Must be the path of a file.")
    if owner is not None and not (isinstance(owner, str) and is_uuid(owner)):
        yield Fault(f"{at}/owner", "wrong_type", "Must be a user among the rows, or an id.")
    if size is not None and not (isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= _LARGEST):
        yield Fault(f"{at}/size", "wrong_type", "A number of bytes.")
    for name in ("content_type", "sha256"):
        if not isinstance(given.get(name, ""), str):
            yield Fault(f"{at}/{name}", "wrong_type", "Must be a text.")
    if not isinstance(metadata or {}, dict):
        yield Fault(f"{at}/metadata", "wrong_type", "Must be an object.")


def _file(bucket: str, given: Mapping[str, object], now: datetime) -> File:
    path, owner = str(given["path"]), given.get("owner")
    folder, name = folder_and_name(path)
    return File(
        bucket=bucket,
        path=path,
        name=name,
        folder=folder,
        blob=f"{bucket}/{path}",
        size=int(str(given.get("size") or 0)),
        content_type=str(given.get("content_type") or BYTES),
        sha256=str(given.get("sha256") or "0" * 64),
        owner=None if owner is None else UUID(str(owner)),
        metadata=json.dumps(given.get("metadata") or {}, default=float),
        created_at=now,
        updated_at=now,
    )
