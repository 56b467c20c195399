"""Fetch the archive of a data set, continue a cut download, check it, and unpack it safely.

pooch keeps the checksums' side: a file appears under its name only once its hash is right. It fetches a file anew
after a cut, which 6 GB do not forgive, so the fetching itself is :class:`_Resumable`.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import http.client
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import IO, Any

from iminet_viz.audio import one_line
from iminet_viz.errors import DatasetError

Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class Remote:
    """Where the publisher keeps the archive of a data set."""

    url: str
    file_name: str
    checksum: str  # "md5:..." or "sha256:..."; empty where the publisher's archive has no lasting one
    contents: dict[str, str] = dataclasses.field(default_factory=dict)  # file in the archive -> its checksum


def download(
    dataset: ModuleType,
    root: Path,
    progress: Progress | None = None,
    remote: Remote | None = None,
    attempts: int = 5,
    wait_s: float = 1.0,
) -> None:
    """Fetch the published archive of a data set and unpack it to ``root``, which appears whole or not at all.

    Until then, ``ROOT.download`` holds what has been fetched; the same call continues from there.

    Args:
        dataset: a module of this family.
        root: a folder that is not there yet, or an empty one.
        progress: called with ("", bytes fetched, bytes in all).
        remote: another place than the publisher's.
        attempts: so many in a row may bring nothing more.
        wait_s: seconds before the second attempt; doubled each time, up to 30.

    Raises:
        DatasetError: the data set must be fetched by hand, ``root`` is not empty, the server refuses or falls silent,
            a checksum is wrong, the archive is damaged or unsafe, or the disk is full (what was fetched stays).
    """
    source = dataset.SOURCE if remote is None else remote
    if isinstance(source, str):
        raise DatasetError(f"{dataset.NAME} cannot be downloaded by a command: {source}")
    root = Path(os.path.abspath(root))  # noqa: PTH100 (resolve() would follow a link that ROOT may be)
    _require_empty(root)
    folder = root.with_name(f"{root.name}.download")
    archive = _fetch(source, folder, progress, attempts, wait_s)
    try:
        unpack(archive, root, source.contents)
    except _FullError:
        raise  # the next attempt needs the archive
    except DatasetError as error:
        archive.unlink()  # what is damaged or wrong is of no use to the next attempt
        raise DatasetError(f"{error}; the archive was removed") from None
    shutil.rmtree(folder)


def unpack(archive: Path, target: Path, contents: dict[str, str] | None = None) -> None:
    """Unpack a zip or tar archive to a folder, which appears whole or not at all.

    An archive with a single folder at its top becomes that folder. Only plain files and folders are written.

    Args:
        archive: zip, or tar with any compression.
        target: a folder that is not there yet, or an empty one.
        contents: checksums that files must have, by their path in ``target``.

    Raises:
        DatasetError: ``target`` is not empty, the archive is damaged or none, a member is a link or device or would
            leave the folder, a checksum is wrong, or the disk is full.
    """
    if not archive.is_file():
        raise DatasetError(f"{archive}: no such archive")
    _require_empty(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as name:
        top = Path(name) / "content"
        top.mkdir()
        with _damage_named(archive), _full_disk_named(target):
            for member, data in _members(archive):
                _write(archive, top, member, data)
        inside = list(top.iterdir())
        if not inside:
            raise DatasetError(f"{archive}: the archive is empty")
        if len(inside) == 1 and inside[0].is_dir():
            top = inside[0]
        for file, checksum in (contents or {}).items():
            _verify(archive, top / file, file, checksum)
        if target.exists():
            target.rmdir()
        top.rename(target)


def archive_stem(archive: Path) -> str:
    """Name of an archive without its ending: the folder that it should become."""
    return re.sub(r"\.(zip|tgz|tar|tar\.\w+)$", "", archive.name, flags=re.IGNORECASE)


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder}: is there already and not empty; a new or empty folder is needed")


def _fetch(remote: Remote, folder: Path, progress: Progress | None, attempts: int, wait_s: float) -> Path:
    """Fetch an archive into a folder, or find it there, with the right checksum."""
    import pooch  # type: ignore[import-untyped]

    downloader = _Resumable(folder / f"{remote.file_name}.part", progress, attempts, wait_s)
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # it would announce what the progress shows
    try:
        path = pooch.retrieve(remote.url, remote.checksum or None, remote.file_name, folder, downloader=downloader)
    except ValueError as error:  # pooch's word for a wrong hash; it has removed the file
        reason = str(error).split(". Deleted")[0]
        raise DatasetError(f"{remote.url}: {reason}; the file was removed") from None
    finally:
        logger.setLevel(level)
    return Path(path)


class _Resumable:
    """A downloader for pooch that keeps what arrived in a file ``.part`` and asks for the rest (RFC 9110, section 14).

    The rest is asked for only if the file is still the same one (``If-Range``); a server that cannot continue sends
    the whole file again.
    """

    def __init__(self, part: Path, progress: Progress | None, attempts: int, wait_s: float) -> None:
        self.part = part
        self.version = part.with_name(f"{part.name}.version")  # ETag or date of the file that the part is of
        self.progress = progress
        self.attempts = attempts
        self.wait_s = wait_s
        self.total = 0  # bytes of the whole file, 0 while unknown

    def __call__(self, url: str, output_file: Any, _pooch: Any, check_only: bool = False) -> bool | None:
        """Fetch ``url`` to the path ``output_file``; pooch's interface.

        Raises:
            DatasetError: the server refuses, or several attempts in a row brought nothing more.
        """
        if check_only:
            raise NotImplementedError("whether a file exists is not asked for here")
        failures, most = 0, self._have()
        while reason := self._attempt(url):
            if self._have() > most:
                failures, most = 0, self._have()
                continue
            failures += 1
            if failures >= self.attempts:
                have, total = self._have(), f" of {self.total:,}" if self.total else ""
                kept = f"; {have:,}{total} bytes are kept in {self.part}, and the same command continues from there"
                raise DatasetError(f"{url}: {reason}{kept if have else ''}")
            time.sleep(min(self.wait_s * 2 ** (failures - 1), 30))
        self.part.replace(output_file)
        self.version.unlink(missing_ok=True)
        return None

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _attempt(self, url: str) -> str:
        """Fetch the rest; empty if the file is whole, else why it is not."""
        try:
            with _full_disk_named(self.part):
                return self._get(url)
        except urllib.error.HTTPError as error:
            with error:  # it holds the connection
                return self._refused(url, error)
        except TimeoutError:
            return "the server did not answer in time"
        except (urllib.error.URLError, ConnectionError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None)
            if isinstance(reason, TimeoutError):
                return "the server did not answer in time"
            why = f" ({reason.strerror})" if isinstance(reason, OSError) and reason.strerror else ""
            return "the connection was cut" if self._have() else f"no connection to the server{why}"
        except ValueError:
            raise DatasetError(f"{url}: is no address of the web") from None

    def _get(self, url: str) -> str:
        # Not requests, which pooch would use: it drops what a chunk that was cut had brought.
        if not url.startswith(("http://", "https://")):
            raise ValueError
        have = self._have()
        request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "iminet-viz"})
        if have:
            request.add_header("Range", f"bytes={have}-")
            if self.version.is_file():
                request.add_header("If-Range", self.version.read_text(encoding="utf-8"))
        with urllib.request.urlopen(request, timeout=60) as response:
            if response.status == 206:
                start, self.total = _span(response.headers)
                if start != have:
                    self.part.unlink()
                    return "the server sent another part than the one asked for"
            else:
                have = 0
                self.total = int(response.headers.get("Content-Length", 0))
            self._note_version(response.headers)
            with self.part.open("ab" if have else "wb") as file:
                while chunk := response.read1(1 << 18):
                    file.write(chunk)
                    have += len(chunk)
                    if self.progress is not None:
                        self.progress("", have, max(self.total, have))
        return "the connection was cut" if have < self.total else ""

    def _refused(self, url: str, error: urllib.error.HTTPError) -> str:
        """What an answer that is none of the file means: to go on, to try again, or to give up."""
        if error.code == 416:  # there is nothing after what we have
            _, self.total = _span(error.headers)
            if self._have() == self.total:
                return ""
            self.part.unlink(missing_ok=True)
            return "the server has less than was fetched before"
        if error.code in {408, 429} or error.code >= 500:
            return f"the server answered {error.code} {error.reason}"
        raise DatasetError(f"{url}: the server answered {error.code} {error.reason}") from None

    def _note_version(self, headers: Any) -> None:
        tag = headers.get("ETag", "")
        version = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")  # If-Range wants strong
        if version:
            self.version.write_text(version, encoding="utf-8")
        else:
            self.version.unlink(missing_ok=True)


def _span(headers: Any) -> tuple[int, int]:
    """Start and length of the whole file by ``Content-Range``; -1 and 0 where they are not told."""
    span = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", headers.get("Content-Range", ""))
    if span is None:
        return -1, 0
    return int(span[1] or -1), 0 if span[2] == "*" else int(span[2])


class _FullError(DatasetError):
    """Nothing more can be written: unlike a damaged archive, what was fetched is of use."""


@contextmanager
def _full_disk_named(path: Path) -> Iterator[None]:
    """Say what could not be written: what the system raises then does not."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise
        raise _FullError(f"{one_line(path)}: cannot be written ({error.strerror})") from None


@contextmanager
def _damage_named(archive: Path) -> Iterator[None]:
    """Turn what reading a damaged archive raises, in many words, into one error."""
    try:
        yield
    except tarfile.ReadError:  # which lists all the formats that it is not
        raise DatasetError(f"{archive}: is no zip or tar archive, or a damaged one") from None
    except (
        *(tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, zlib.error, lzma.LZMAError),
        NotImplementedError,  # a compression that zipfile does not know
    ) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's, not what gzip and bz2 say of damage
            raise
        raise DatasetError(f"{archive}: the archive is damaged ({error})") from None


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The plain files of an archive; anything but files and folders is refused."""
    with archive.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    return _zip_members(archive) if is_zip else _tar_members(archive)


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            if stat.S_ISLNK(info.external_attr >> 16):
                raise DatasetError(f"{archive}: {info.filename} is a link, which is not unpacked; nothing was written")
            if info.flag_bits & 1:
                raise DatasetError(f"{archive}: {info.filename} is encrypted; nothing was written")
            if not info.is_dir():
                with file.open(info) as data:
                    yield info.filename, data


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive, "r:*") as file:
        for member in file:
            if member.isreg():
                data = file.extractfile(member)
                assert data is not None
                with data:
                    yield member.name, data
            elif not member.isdir():
                raise DatasetError(
                    f"{archive}: {member.name} is a link or device, which is not unpacked; nothing was written"
                )
        assert file.fileobj is not None
        while file.fileobj.read(1 << 20):  # to the end, where the checksum of a compressed archive stands
            pass


def _write(archive: Path, folder: Path, member: str, data: IO[bytes]) -> None:
    """Write one file of an archive below a folder.

    Not tarfile's own extraction: its filters are missing before Python 3.11.4, and zip has none.
    """
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts or "\\" in member or re.match(r"[A-Za-z]:", member):
        raise DatasetError(f"{archive}: {member} would be written outside of the folder; nothing was written")
    place = folder / path
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as file:
            shutil.copyfileobj(data, file, 1 << 20)
    except (FileExistsError, NotADirectoryError):
        raise DatasetError(f"{archive}: holds {member} twice; nothing was written") from None


def _verify(archive: Path, path: Path, name: str, checksum: str) -> None:
    if not path.is_file():
        raise DatasetError(f"{archive}: holds no {name}, so it is not the archive of this data set")
    algorithm, _, expected = checksum.partition(":")
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, algorithm).hexdigest()
    if actual != expected:
        raise DatasetError(f"{archive}: its {name} has the {algorithm} {actual}, expected {expected}")
