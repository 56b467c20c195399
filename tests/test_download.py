"""Fetching and unpacking, against a server of our own: cuts, resumption, wrong checksums, hostile archives."""

import dataclasses
import errno
import hashlib
import http.server
import io
import json
import os
import random
import re
import shutil
import socket
import stat
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
from test_audio import small_disk
from test_published import make_esc50, make_urbansound, make_voxforge

from iminet_viz.datasets import (
    DATASETS,
    Remote,
    archive_stem,
    check,
    download,
    esc50,
    unpack,
    urbansound8k,
    vocalsketch,
    voxforge,
)
from iminet_viz.errors import DatasetError


class Server:
    """Serves bytes, as whole as it is told to; remembers what was asked for."""

    def __init__(self) -> None:
        self.data = b""
        self.ranges = True  # whether it can continue
        self.tag = '"one"'
        self.cuts: list[int] = []  # bytes after which each of the next answers is cut
        self.statuses: list[int] = []  # of the next answers, instead of the file
        self.shift = 0  # bytes by which a continued answer starts too late
        self.asked: list[dict[str, str]] = []
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/archive"

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.append(dict(request.headers))
        body, start = self.data, 0
        if self.statuses:
            request.send_response(self.statuses.pop(0))
            body = b""
        else:
            span = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
            same = request.headers.get("If-Range") in {None, self.tag}
            if span and self.ranges and same and int(span[1]) >= len(self.data):
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{len(self.data)}")
                body = b""
            elif span and self.ranges and same:
                start = int(span[1]) + self.shift
                body = self.data[start:]
                request.send_response(206)
                request.send_header("Content-Range", f"bytes {start}-{len(self.data) - 1}/{len(self.data)}")
            else:
                request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        if self.tag:
            request.send_header("ETag", self.tag)
        request.end_headers()
        if self.cuts and body:
            request.wfile.write(body[: self.cuts.pop(0)])
            request.wfile.flush()
            request.connection.shutdown(socket.SHUT_RDWR)
            request.close_connection = True
        else:
            request.wfile.write(body)

    def ranges_asked(self) -> list[str]:
        return [headers.get("Range", "") for headers in self.asked]


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()
    server.thread.join()


def packed(folder: Path, kind: str, top: str) -> bytes:
    """An archive of a folder, under the name ``top`` in it."""
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.rglob("*")):
                archive.write(path, f"{top}/{path.relative_to(folder).as_posix()}")
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            archive.add(folder, top)
    return buffer.getvalue()


def md5(data: bytes) -> str:
    return f"md5:{hashlib.md5(data).hexdigest()}"


@pytest.fixture
def urban(server, tmp_path) -> Remote:
    """A small UrbanSound8K as its publisher packs it, on the server."""
    make_urbansound(tmp_path / "made")
    server.data = packed(tmp_path / "made", "tgz", "UrbanSound8K")
    return Remote(server.url, "UrbanSound8K.tar.gz", md5(server.data))


def fetch(remote: Remote, root: Path, dataset=urbansound8k, **options) -> None:
    download(dataset, root, remote=remote, wait_s=0, **options)


def assert_whole(root: Path) -> None:
    assert check(urbansound8k, root).faults == []
    assert len(urbansound8k.load(root)) == 12
    assert not root.with_name(f"{root.name}.download").exists()
    assert [path.name for path in root.parent.iterdir() if path.name.startswith(".")] == []


# --- fetching ---------------------------------------------------------------------------------------------------------


def test_a_download_is_unpacked_to_the_folder(server, urban, tmp_path):
    steps = []
    fetch(urban, tmp_path / "data" / "urban", progress=lambda *step: steps.append(step))
    assert_whole(tmp_path / "data" / "urban")
    assert steps[-1] == ("", len(server.data), len(server.data))
    assert server.ranges_asked() == [""]


def test_esc50_is_checked_by_its_table(server, tmp_path):
    make_esc50(tmp_path / "made")
    server.data = packed(tmp_path / "made", "zip", "ESC-50-33c8ce9")
    table = (tmp_path / "made" / esc50.TABLE).read_bytes()
    remote = dataclasses.replace(esc50.SOURCE, url=server.url, contents={esc50.TABLE: md5(table)})
    fetch(remote, tmp_path / "esc", esc50)
    assert len(esc50.load(tmp_path / "esc")) == 12

    wrong = dataclasses.replace(remote, contents={esc50.TABLE: md5(b"another")})
    with pytest.raises(DatasetError) as caught:
        fetch(wrong, tmp_path / "other", esc50)
    assert hashlib.md5(table).hexdigest() in str(caught.value) and md5(b"another")[4:] in str(caught.value)
    assert str(caught.value).endswith("; the archive was removed")
    assert not (tmp_path / "other").exists()
    assert not list((tmp_path / "other.download").iterdir())


def test_a_cut_download_continues_where_it_was_cut(server, urban, tmp_path):
    server.cuts = [1000, 500]
    fetch(urban, tmp_path / "urban")
    assert_whole(tmp_path / "urban")
    assert server.ranges_asked() == ["", "bytes=1000-", "bytes=1500-"]
    assert server.asked[1]["If-Range"] == '"one"'
    assert {headers["Accept-Encoding"] for headers in server.asked} == {"identity"}


def test_a_later_call_continues_too(server, urban, tmp_path):
    server.cuts = [1000, 0, 0, 0]
    with pytest.raises(DatasetError) as caught:
        fetch(urban, tmp_path / "urban", attempts=3)
    part = tmp_path / "urban.download" / "UrbanSound8K.tar.gz.part"
    assert str(caught.value) == (
        f"{server.url}: the connection was cut; 1,000 of {len(server.data):,} bytes are kept in {part}, "
        "and the same command continues from there"
    )
    assert part.read_bytes() == server.data[:1000]
    assert not (tmp_path / "urban").exists()
    server.cuts = []
    fetch(urban, tmp_path / "urban")
    assert_whole(tmp_path / "urban")
    assert server.ranges_asked()[-1] == "bytes=1000-"


def test_an_interrupted_download_continues(server, urban, tmp_path):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(urban, tmp_path / "urban", progress=stop)
    part = tmp_path / "urban.download" / "UrbanSound8K.tar.gz.part"
    assert part.read_bytes() == server.data[: part.stat().st_size]
    fetch(urban, tmp_path / "urban")
    assert_whole(tmp_path / "urban")


def test_a_server_that_cannot_continue_sends_everything_again(server, urban, tmp_path):
    server.ranges = False
    server.cuts = [1000, 2000]
    fetch(urban, tmp_path / "urban")
    assert_whole(tmp_path / "urban")
    assert server.ranges_asked() == ["", "bytes=1000-", "bytes=2000-"]


def test_a_server_that_always_cuts_at_the_same_place_is_given_up(server, urban, tmp_path):
    server.ranges = False
    server.cuts = [1000] * 20
    with pytest.raises(DatasetError, match=r"the connection was cut; 1,000 of [\d,]+ bytes are kept"):
        fetch(urban, tmp_path / "urban", attempts=4)
    assert len(server.asked) == 5  # the first brought something


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, urban, tmp_path):
    whole = server.data
    server.data, server.cuts = b"an earlier version" * 100, [1000, 0]
    with pytest.raises(DatasetError):
        fetch(urban, tmp_path / "urban", attempts=1)
    server.data, server.tag = whole, '"two"'
    fetch(urban, tmp_path / "urban")
    assert_whole(tmp_path / "urban")
    assert server.asked[-1]["If-Range"] == '"one"'


@pytest.mark.parametrize("tag", ["", 'W/"weak"'])
def test_without_a_strong_tag_the_checksum_alone_decides(server, urban, tmp_path, tag):
    server.tag, server.cuts = tag, [1000]
    fetch(urban, tmp_path / "urban")
    assert_whole(tmp_path / "urban")
    assert "If-Range" not in server.asked[1]


def test_a_server_that_continues_at_another_place_is_asked_for_everything(server, urban, tmp_path):
    server.cuts, server.shift = [1000], 7
    fetch(urban, tmp_path / "urban")
    assert_whole(tmp_path / "urban")
    assert server.ranges_asked() == ["", "bytes=1000-", ""]


def test_a_part_that_is_whole_is_not_fetched_again(server, urban, tmp_path):
    folder = tmp_path / "urban.download"
    folder.mkdir()
    (folder / "UrbanSound8K.tar.gz.part").write_bytes(server.data)
    fetch(urban, tmp_path / "urban")
    assert_whole(tmp_path / "urban")
    assert server.ranges_asked() == [f"bytes={len(server.data)}-"]


def test_a_part_that_is_too_long_is_dropped(server, urban, tmp_path):
    folder = tmp_path / "urban.download"
    folder.mkdir()
    (folder / "UrbanSound8K.tar.gz.part").write_bytes(server.data + b"more")
    fetch(urban, tmp_path / "urban")
    assert_whole(tmp_path / "urban")


def test_an_archive_that_is_there_is_not_fetched(server, urban, tmp_path):
    folder = tmp_path / "urban.download"
    folder.mkdir()
    (folder / "UrbanSound8K.tar.gz").write_bytes(server.data)
    fetch(urban, tmp_path / "urban")
    assert_whole(tmp_path / "urban")
    assert server.asked == []


def test_a_wrong_checksum_is_said_with_both_and_the_file_removed(server, urban, tmp_path):
    wrong = dataclasses.replace(urban, checksum=md5(b"what it should be"))
    with pytest.raises(DatasetError) as caught:
        fetch(wrong, tmp_path / "urban")
    message = str(caught.value)
    assert wrong.checksum[4:] in message and urban.checksum[4:] in message
    assert message.startswith(server.url) and message.endswith("the file was removed") and "\n" not in message
    assert not (tmp_path / "urban").exists()
    assert list((tmp_path / "urban.download").iterdir()) == []
    fetch(urban, tmp_path / "urban")  # nothing of it is in the way of the right one
    assert_whole(tmp_path / "urban")


def test_a_busy_server_is_asked_again(server, urban, tmp_path):
    server.statuses = [503, 429]
    fetch(urban, tmp_path / "urban")
    assert_whole(tmp_path / "urban")


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_said_at_once(server, urban, tmp_path, status):
    server.statuses = [status]
    with pytest.raises(DatasetError, match=f"{server.url}: the server answered {status}"):
        fetch(urban, tmp_path / "urban")
    assert len(server.asked) == 1


def test_a_server_that_stays_busy_is_given_up(server, urban, tmp_path):
    server.statuses = [503] * 9
    with pytest.raises(DatasetError, match=r"the server answered 503 Service Unavailable$"):
        fetch(urban, tmp_path / "urban", attempts=3)
    assert len(server.asked) == 3


def test_no_server_is_said(urban, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    remote = dataclasses.replace(urban, url=f"http://127.0.0.1:{port}/x")
    with pytest.raises(DatasetError, match=r"no connection to the server \(Connection refused\)$"):
        fetch(remote, tmp_path / "urban", attempts=2)


def test_what_is_no_address_is_said(urban, tmp_path):
    for url in ("nowhere", "ftp://127.0.0.1/x", "file:///etc/hosts"):
        with pytest.raises(DatasetError, match="is no address of the web"):
            fetch(dataclasses.replace(urban, url=url), tmp_path / "urban")


def test_a_folder_in_use_is_not_touched(server, urban, tmp_path):
    (tmp_path / "urban").mkdir()
    (tmp_path / "urban" / "mine.txt").write_text("mine")
    with pytest.raises(DatasetError, match="urban: is there already and not empty"):
        fetch(urban, tmp_path / "urban")
    assert server.asked == []
    (tmp_path / "urban" / "mine.txt").unlink()
    fetch(urban, tmp_path / "urban")  # an empty one may be there
    assert_whole(tmp_path / "urban")


def test_a_damaged_archive_without_checksum_is_removed(server, urban, tmp_path):
    server.data = server.data[:-100]
    with pytest.raises(DatasetError, match="damaged"):
        fetch(dataclasses.replace(urban, checksum=""), tmp_path / "urban")
    assert list((tmp_path / "urban.download").iterdir()) == []


@pytest.mark.parametrize("name", [name for name, module in DATASETS.items() if isinstance(module.SOURCE, str)])
def test_what_must_be_fetched_by_hand_is_explained(tmp_path, name):
    with pytest.raises(DatasetError, match=f"{name} cannot be downloaded by a command: ") as caught:
        download(DATASETS[name], tmp_path / "x")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_must_be_fetched_by_hand_is_named_with_its_place():
    assert "http://www.repository.voxforge1.org/downloads/" in voxforge.SOURCE
    assert "https://github.com/interactiveaudiolab/VocalSketchDataSet" in vocalsketch.SOURCE


# --- unpacking --------------------------------------------------------------------------------------------------------


def make_zip(path: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)


def make_tar(path: Path, *members: tuple[str, bytes, str]) -> None:
    """Members of name, kind and target of a link."""
    with tarfile.open(path, "w:gz") as archive:
        for name, kind, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            info.size = 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(b"evil") if info.size else None)


def zip_link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


GOOD = ("set/good.txt", tarfile.REGTYPE, "")
HOSTILE_TARS = {
    "a parent": [GOOD, ("../evil.txt", tarfile.REGTYPE, "")],
    "a parent inside": [GOOD, ("set/../../evil.txt", tarfile.REGTYPE, "")],
    "absolute": [GOOD, ("/tmp/evil.txt", tarfile.REGTYPE, "")],
    "of another system": [GOOD, ("..\\evil.txt", tarfile.REGTYPE, "")],
    "of another drive": [GOOD, ("C:evil.txt", tarfile.REGTYPE, "")],
    "a link": [GOOD, ("set/link", tarfile.SYMTYPE, "../.."), ("set/link/evil.txt", tarfile.REGTYPE, "")],
    "a hard link": [GOOD, ("set/link", tarfile.LNKTYPE, "/etc/passwd")],
    "a device": [GOOD, ("set/null", tarfile.CHRTYPE, "")],
    "a pipe": [GOOD, ("set/pipe", tarfile.FIFOTYPE, "")],
    "twice": [GOOD, GOOD],
    "a file as a folder": [GOOD, ("set/good.txt/evil.txt", tarfile.REGTYPE, "")],
}
HOSTILE_ZIPS = {
    "a parent": [("set/good.txt", b"good"), ("../evil.txt", b"evil")],
    "absolute": [("set/good.txt", b"good"), ("/tmp/evil.txt", b"evil")],
    "a link": [("set/good.txt", b"good"), (zip_link("set/link"), b"../..")],
}


def assert_refused(archive: Path, target: Path, words: str) -> None:
    before = sorted(path for path in target.parent.rglob("*"))
    with pytest.raises(DatasetError, match=words) as caught:
        unpack(archive, target)
    assert str(archive) in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(path for path in target.parent.rglob("*")) == before
    assert not Path("/tmp/evil.txt").exists()


@pytest.mark.parametrize("name", HOSTILE_TARS)
def test_a_hostile_tar_writes_nothing(tmp_path, name):
    make_tar(tmp_path / "x.tgz", *HOSTILE_TARS[name])
    assert_refused(tmp_path / "x.tgz", tmp_path / "deep" / "target", "nothing was written")


@pytest.mark.parametrize("name", HOSTILE_ZIPS)
def test_a_hostile_zip_writes_nothing(tmp_path, name):
    make_zip(tmp_path / "x.zip", HOSTILE_ZIPS[name])
    (tmp_path / "deep").mkdir()
    assert_refused(tmp_path / "x.zip", tmp_path / "deep" / "target", "nothing was written")


def test_a_damaged_archive_is_named_and_writes_nothing(tmp_path):
    make_tar(tmp_path / "cut.tgz", *[(f"set/{n}.txt", tarfile.REGTYPE, "") for n in range(50)])
    whole = (tmp_path / "cut.tgz").read_bytes()
    (tmp_path / "cut.tgz").write_bytes(whole[: len(whole) // 2])
    make_zip(tmp_path / "bits.zip", [("set/a.txt", b"these bytes will change")])
    data = (tmp_path / "bits.zip").read_bytes()
    (tmp_path / "bits.zip").write_bytes(data.replace(b"these", b"those"))
    (tmp_path / "cut.zip").write_bytes(data[:40])
    (tmp_path / "page.zip").write_text("<html>Please log in</html>")
    (tmp_path / "nothing.tgz").touch()
    make_tar(tmp_path / "empty.tgz")
    target = tmp_path / "deep" / "target"
    target.parent.mkdir()
    for name in ("cut.tgz", "bits.zip", "cut.zip", "page.zip", "nothing.tgz"):
        assert_refused(tmp_path / name, target, "damaged")
    assert_refused(tmp_path / "empty.tgz", target, "the archive is empty")
    assert_refused(tmp_path / "gone.tgz", target, "no such archive")


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_damage_within_a_file_is_found_by_the_archive_s_checksum(tmp_path, kind):
    data = random.Random(0).randbytes(200_000)  # which is stored as it is
    with tarfile.open(tmp_path / "x.tar", f"w:{kind}") as archive:
        info = tarfile.TarInfo("x/data.bin")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    whole = (tmp_path / "x.tar").read_bytes()
    unpack(tmp_path / "x.tar", tmp_path / "whole")
    assert (tmp_path / "whole" / "data.bin").read_bytes() == data
    (tmp_path / "x.tar").write_bytes(whole[:100_000] + bytes(10) + whole[100_010:])
    with pytest.raises(DatasetError, match=r"x\.tar: (the archive is damaged|is no zip or tar archive)"):
        unpack(tmp_path / "x.tar", tmp_path / "damaged")
    assert not (tmp_path / "damaged").exists()


def test_a_single_folder_at_the_top_becomes_the_target(tmp_path):
    make_zip(tmp_path / "one.zip", [("top/a/x.txt", b"x"), ("top/y.txt", b"y")])
    make_zip(tmp_path / "two.zip", [("a/x.txt", b"x"), ("b/y.txt", b"y")])
    unpack(tmp_path / "one.zip", tmp_path / "one")
    unpack(tmp_path / "two.zip", tmp_path / "two")
    assert (tmp_path / "one" / "a" / "x.txt").read_text() == "x"
    assert (tmp_path / "two" / "b" / "y.txt").read_text() == "y"


def test_a_file_that_the_archive_must_hold_is_missed(tmp_path):
    make_zip(tmp_path / "x.zip", [("top/a.txt", b"x")])
    with pytest.raises(DatasetError, match=r"holds no b\.txt, so it is not the archive of this data set"):
        unpack(tmp_path / "x.zip", tmp_path / "x", {"b.txt": md5(b"x")})
    unpack(tmp_path / "x.zip", tmp_path / "x", {"a.txt": f"sha256:{hashlib.sha256(b'x').hexdigest()}"})


def test_names_of_archives():
    names = ["a-20150731-cqc.tgz", "b.tar.gz", "c.zip", "d.tar", "e.v1.TGZ"]
    assert [archive_stem(Path(name)) for name in names] == ["a-20150731-cqc", "b", "c", "d", "e.v1"]


# --- the commands -----------------------------------------------------------------------------------------------------


def test_the_download_command(call, urban, tmp_path, monkeypatch):
    monkeypatch.setattr(urbansound8k, "SOURCE", urban)
    status, out, _ = call("data", "download", "urbansound8k", tmp_path / "urban")
    assert status == 0 and "CC BY-NC" in out and "Salamon" in out
    assert_whole(tmp_path / "urban")
    status, _, err = call("data", "download", "urbansound8k", tmp_path / "urban")
    assert status == 1 and "is there already and not empty" in err and "Traceback" not in err


def test_a_full_disk_is_said_with_the_file_and_what_was_fetched_stays(call, server, urban, tmp_path, monkeypatch):
    monkeypatch.setattr(urbansound8k, "SOURCE", urban)
    size = len(server.data)
    with small_disk(tmp_path / "disk", f"{size // 2}") as disk:
        status, out, err = call("data", "download", "urbansound8k", disk / "urban")
        part = disk / "urban.download" / "UrbanSound8K.tar.gz.part"
        assert (status, out) == (1, "")
        assert err.splitlines()[-1] == f"Error: {part}: cannot be written (No space left on device)"
        assert 0 < part.stat().st_size < size
        shutil.copytree(disk, tmp_path / "larger")
    assert call("data", "download", "urbansound8k", tmp_path / "larger" / "urban")[0] == 0
    assert server.ranges_asked()[0] == "" and server.ranges_asked()[-1].startswith("bytes=")
    assert_whole(tmp_path / "larger" / "urban")


def test_a_disk_that_is_full_when_unpacking_is_said_and_keeps_the_archive(call, urban, tmp_path, monkeypatch):
    monkeypatch.setattr(urbansound8k, "SOURCE", urban)
    copy = shutil.copyfileobj

    def full(data, file, *size):
        if "fold5" in file.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        copy(data, file, *size)

    monkeypatch.setattr(shutil, "copyfileobj", full)
    words = "cannot be written (No space left on device)"
    status, out, err = call("data", "download", "urbansound8k", tmp_path / "urban")
    assert (status, out) == (1, "")
    assert err.splitlines()[-1] == f"Error: {tmp_path / 'urban'}: {words}"
    archive = tmp_path / "urban.download" / "UrbanSound8K.tar.gz"
    status, _, err = call("data", "unpack", archive, "--out", tmp_path / "out")
    assert status == 1 and err.splitlines()[-1] == f"Error: {tmp_path / 'out' / 'UrbanSound8K'}: {words}"
    assert not (tmp_path / "urban").exists() and not list((tmp_path / "out").iterdir())
    monkeypatch.setattr(shutil, "copyfileobj", copy)
    fetch(dataclasses.replace(urban, url="http://127.0.0.1:1/nobody"), tmp_path / "urban")  # nothing is fetched again
    assert_whole(tmp_path / "urban")


def test_the_list_says_which_archive_has_no_checksum(call):
    rows = {row["name"]: row for row in json.loads(call("data", "list", "--json")[1])}
    for name in ("esc50", "esc10"):
        assert rows[name]["checksums"] == {esc50.SOURCE.file_name: None, **esc50.SOURCE.contents}
    assert rows["urbansound8k"]["checksums"] == {"UrbanSound8K.tar.gz": urbansound8k.SOURCE.checksum}
    assert rows["vocalsketch"]["checksums"] == {}
    text = call("data", "list")[1]
    assert text.count(f"checksum of {esc50.SOURCE.file_name}: none is published") == 2
    assert "checksum of UrbanSound8K.tar.gz: md5:" in text


def test_the_download_command_says_what_to_do_by_hand(call, tmp_path):
    status, _, err = call("data", "download", "vocalsketch", tmp_path / "x")
    assert status == 1
    assert err.strip().startswith("Error: vocalsketch cannot be downloaded by a command: the authors publish it")


def test_submissions_of_voxforge_are_unpacked_and_read(call, tmp_path):
    make_voxforge(tmp_path / "made")
    (tmp_path / "got").mkdir()
    for submission in sorted((tmp_path / "made" / "nl").iterdir()):
        archive = tmp_path / "got" / f"{submission.name}.tgz"
        archive.write_bytes(packed(submission, "tgz", submission.name))
    archives = sorted((tmp_path / "got").iterdir())
    status, out, _ = call("data", "unpack", *archives, "--out", tmp_path / "vox" / "nl")
    assert status == 0 and out.startswith("2 archives unpacked, 0 were there")
    assert len(voxforge.load(tmp_path / "vox")) == 8
    assert check(voxforge, tmp_path / "vox").faults == []
    assert call("data", "unpack", *archives, "--out", tmp_path / "vox" / "nl")[1].startswith(
        "0 archives unpacked, 2 were"
    )


def test_the_unpack_command_refuses_a_hostile_archive(call, tmp_path):
    make_tar(tmp_path / "x.tgz", *HOSTILE_TARS["a parent"])
    status, _, err = call("data", "unpack", tmp_path / "x.tgz", "--out", tmp_path / "out")
    assert status == 1 and "../evil.txt would be written outside" in err and "Traceback" not in err
    assert not (tmp_path / "evil.txt").exists()
