"""Archives made to escape, to explode or to lie; each is refused with its own code before a byte of it is stored."""

import contextlib
import gzip
import io
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from baas.base.errors import BaasError, Invalid, TooLarge, UnsupportedMediaType
from baas.features.hosting.archive import Limits, hidden, open_archive

LIMITS = Limits(open_bytes=64 << 20, files=50)
Entry = tuple[str, bytes]
SITE: tuple[Entry, ...] = (("index.html", b"<h1>hi</h1>"), ("assets/app.js", b"let a = 1"), ("empty", b""))


def tar_gz(entries: Iterable[Entry | tarfile.TarInfo], kind: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=kind) as tar:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                tar.addfile(info, io.BytesIO(entry[1]))
    return out.getvalue()


def zipped(entries: Iterable[Entry], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as archive:
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name), data, packing)
    return out.getvalue()


def read(data: bytes, folder: Path, limits: Limits = LIMITS) -> dict[str, bytes]:
    packed = folder / "packed"
    packed.write_bytes(data)
    with open_archive(packed, folder / "scratch", limits) as archive:
        return {member.path: b"".join(archive.read(member)) for member in archive.members}


def refused(data: bytes, folder: Path, limits: Limits = LIMITS) -> str:
    with pytest.raises(BaasError) as error:
        read(data, folder, limits)
    assert 400 <= error.value.status < 500
    assert ["packed"] == [path.name for path in folder.rglob("*")], "nothing is left, inside the folder or beside it"
    return error.value.code


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_with_mode(name: str, mode: int, data: bytes = b"/etc/passwd") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, data)
    return out.getvalue()


@pytest.mark.parametrize("make", [tar_gz, zipped, lambda entries: tar_gz(entries, tarfile.GNU_FORMAT)])
def test_a_site_is_read_as_it_was_packed(make: Callable[..., bytes], tmp_path: Path) -> None:
    long = ("deep/" * 40 + "é😀.txt", b"x" * 600_000)

    assert dict((*SITE, long)) == read(make([*SITE, long]), tmp_path)
    assert dict(SITE) == read(make([(f"./{name}", data) for name, data in SITE]), tmp_path)


ESCAPES = ["../up", "a/../../up", "/etc/passwd", "..", "a//b", "a/./b", "a\\..\\b", "C:\\x", "a\nb", "a\x7fb", "x" * 1025, "a/.."]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("make", [tar_gz, zipped])
def test_no_path_escapes(make: Callable[..., bytes], name: str, tmp_path: Path) -> None:
    assert "bad_path" == refused(make([*SITE, (name, b"x")]), tmp_path)


def test_a_name_with_nul_is_not_cut(tmp_path: Path) -> None:
    """`zipfile` shows `evil.html` for `evil.html\\0.png`; the whole name is judged."""
    data = zipped([("evil.html__.png", b"x")]).replace(b"evil.html__.png", b"evil.html\0_.png")

    assert "bad_path" == refused(data, tmp_path)


KINDS = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_tar_holds_plain_files_only(kind: bytes, tmp_path: Path) -> None:
    assert "not_a_file" == refused(tar_gz([*SITE, special("link", kind, "/etc/passwd")]), tmp_path)


def test_a_file_through_a_linked_folder_is_refused(tmp_path: Path) -> None:
    attack = tar_gz([special("assets", tarfile.SYMTYPE, str(tmp_path.parent)), ("assets/pwned", b"x")])

    assert "not_a_file" == refused(attack, tmp_path)
    assert not (tmp_path.parent / "pwned").exists()


@pytest.mark.parametrize("mode", [0o120777, 0o010644, 0o020644, 0o060644, 0o140644])
def test_a_zip_holds_plain_files_only(mode: int, tmp_path: Path) -> None:
    assert "not_a_file" == refused(zip_with_mode("link", mode), tmp_path)


def test_unusual_packings_are_refused(tmp_path: Path) -> None:
    assert "not_a_file" == refused(zipped(SITE, zipfile.ZIP_LZMA), tmp_path)


SAME_PLACE = [("a.txt", "a.txt"), ("Index.html", "index.HTML"), ("straße", "STRASSE"), ("a", "a/b"), ("A/b", "a")]


@pytest.mark.parametrize("pair", SAME_PLACE)
@pytest.mark.parametrize("make", [tar_gz, zipped])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_two_files_share_a_place(make: Callable[..., bytes], pair: tuple[str, str], tmp_path: Path) -> None:
    assert "duplicate_path" == refused(make([(name, b"x") for name in pair]), tmp_path)


@pytest.mark.parametrize("make", [tar_gz, zipped])
def test_counts_are_limited(make: Callable[..., bytes], tmp_path: Path) -> None:
    assert 50 == len(read(make([(f"f{n}", b"") for n in range(50)]), tmp_path))
    assert "too_many_files" == refused(make([(f"f{n}", b"") for n in range(51)]), tmp_path)
    folders = tar_gz([special(f"d{n}", tarfile.DIRTYPE) for n in range(101)])
    assert "too_many_files" == refused(folders, tmp_path)


@pytest.mark.parametrize("make", [tar_gz, zipped])
def test_sizes_are_counted_while_opening(make: Callable[..., bytes], tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(1 << 20)

    assert "archive_too_large" == refused(make([("a", noise), ("b", noise)]), tmp_path, Limits((2 << 20) - 5000, 2))
    assert "archive_ratio" == refused(make([("a", b"\0" * (60 << 20))]), tmp_path)


def test_a_tar_header_that_states_gigabytes_is_not_believed(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 8 << 30
    header = info.tobuf(tarfile.GNU_FORMAT)

    assert refused(gzip.compress(header + bytes(2048)), tmp_path) == "bad_archive"


def test_a_tar_header_of_megabytes_is_not_read_into_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.pax_headers = {"comment": "x" * (2 << 20)}

    assert refused(tar_gz([info], tarfile.PAX_FORMAT), tmp_path) == "bad_archive"


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("make", [tar_gz, zipped])
def test_an_archive_cut_short_is_refused(make: Callable[..., bytes], cut: float, tmp_path: Path) -> None:
    whole = make([*SITE, ("big", random.Random(2).randbytes(100_000))])

    assert "bad_archive" == refused(whole[: int(len(whole) * cut)], tmp_path)


def test_a_tar_cut_before_it_was_packed_is_refused(tmp_path: Path) -> None:
    """Its gzip checksum is right; only the missing end tells. Cut at every block, it is never taken for a smaller site."""
    whole = gzip.decompress(tar_gz(SITE, tarfile.USTAR_FORMAT))

    for blocks in range(1, 5):
        assert "bad_archive" == refused(gzip.compress(whole[: blocks * 512]), tmp_path)
    damaged = bytearray(whole)
    damaged[1024 + 148] ^= 1
    assert "bad_archive" == refused(gzip.compress(bytes(damaged)), tmp_path)


def test_a_damaged_zip_member_is_refused(tmp_path: Path) -> None:
    whole = bytearray(zipped(SITE, zipfile.ZIP_STORED))
    whole[whole.index(b"<h1>") + 1] ^= 1

    assert "bad_archive" == refused(bytes(whole), tmp_path)


def test_a_zip_that_states_a_huge_directory_is_not_read(tmp_path: Path) -> None:
    whole = bytearray(zipped(SITE))
    struct.pack_into("<L", whole, whole.rindex(b"PK\x05\x06") + 12, 1 << 30)

    assert "too_many_files" == refused(bytes(whole), tmp_path)


@pytest.mark.parametrize("seed", range(300))
def test_noise_in_an_archive_is_refused_or_read(seed: int, tmp_path: Path) -> None:
    """Bytes changed at random: a problem of the caller's or an archive, never another error (seed in the test's name)."""
    chance = random.Random(seed)
    make = chance.choice([tar_gz, zipped, lambda entries: tar_gz(entries, tarfile.USTAR_FORMAT)])
    whole = make(SITE)
    packed = whole[:2] == b"\x1f\x8b"
    inner = bytearray(gzip.decompress(whole) if packed else whole)
    for _ in range(chance.randint(1, 8)):
        inner[chance.randrange(len(inner))] = chance.randrange(256)
    with contextlib.suppress(Invalid, TooLarge, UnsupportedMediaType):
        read(gzip.compress(bytes(inner)) if packed else bytes(inner), tmp_path)


@pytest.mark.parametrize("data", [b"", b"plain text", b"Rar!\x1a\x07", b"\x1f", gzip.compress(b"", mtime=0)])
def test_another_format_is_refused(data: bytes, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    packed.write_bytes(data)
    with pytest.raises(BaasError) as error, open_archive(packed, tmp_path / "scratch", LIMITS):
        pass

    assert error.value.status in (UnsupportedMediaType.status, 422)


@pytest.mark.parametrize("make", [tar_gz, zipped])
def test_an_archive_without_files_is_refused(make: Callable[..., bytes], tmp_path: Path) -> None:
    assert "empty_archive" == refused(make([]), tmp_path)
    assert "empty_archive" == refused(make([(".env", b"SECRET=1")]), tmp_path)


def test_dot_files_are_left_out_and_named(tmp_path: Path) -> None:
    dots = [(".env", b"x"), ("a/.git/config", b"x"), (".well-known/security.txt", b"y")]
    (tmp_path / "packed").write_bytes(tar_gz([*SITE, *dots]))

    with open_archive(tmp_path / "packed", tmp_path / "scratch", LIMITS) as archive:
        assert (".env", "a/.git/config") == archive.ignored
        assert ".well-known/security.txt" in [member.path for member in archive.members]


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a/b", False), (".a", True), ("a/.b/c", True), (".well-known/x", False), (".well-known/.x", True), ("a/.well-known", True)],
)
def test_hidden_paths(path: str, expected: bool) -> None:
    assert expected == hidden(path)
