"""Images as files: what goes in comes out, byte for byte, and nothing else does."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from banger_core.bundle.parts import SparseDigest, digest_of, find_parts
from banger_core.engine.image_export import export_image
from banger_core.engine.image_register import Registration
from banger_core.errors import (
    BangerError,
    Conflict,
    HostileInput,
    HostNotReady,
    IntegrityError,
    NoSpace,
    NotFound,
    Unreachable,
    UsageProblem,
)
from banger_core.testing.kernel_images import RELEASE, make_modules


@pytest.fixture
def own(bench, mine):
    """An image with a kernel, modules, and a configuration of programs."""
    modules = make_modules(mine / "lib" / RELEASE, "btrfs", builtin="ext4")
    wanted = Registration(
        name="own", rootfs=mine / "root.ext4", kernel=mine / "vmlinux", modules=modules
    )
    return bench.run(lambda engine, op: engine.registrar.register(wanted, op))


def export(bench, target, ref="own", **more):
    return bench.run(lambda engine, op: export_image(engine, ref, target, op, **more))


def take(bench, source, **more):
    return bench.run(lambda engine, op: engine.importer.take(str(source), op, **more))


def delete(bench, name):
    bench.run(lambda engine, op: engine.images.delete(name, op))


@pytest.fixture
def bundle(bench, own, tmp_path):
    target = tmp_path / "own.tar.zst"
    export(bench, target)
    return target


@pytest.mark.parametrize("ending", ["tar.zst", "tar"])
def test_what_goes_in_comes_out(bench, own, mine, tmp_path, ending):
    target = tmp_path / f"own.{ending}"
    done = export(bench, target)
    assert done.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    assert done.size == target.stat().st_size < 8 << 20
    assert target.stat().st_mode & 0o777 == 0o600
    delete(bench, "own")
    image = take(bench, target, sha256=done.sha256)
    assert image.name == "own"
    assert image.host is None
    assert image.rootfs.read_bytes() == (mine / "root.ext4").read_bytes()
    assert image.rootfs.stat().st_blocks * 512 < image.rootfs.stat().st_size
    assert image.kernel_files.vmlinux.read_bytes() == (mine / "vmlinux").read_bytes()
    assert (image.kernel_files.modules / "modules.builtin").read_text() == "kernel/ext4.ko\n"
    assert (image.kernel_files.modules / "kernel/drivers/btrfs.ko").is_file()
    assert image.kernel.version == RELEASE
    assert image.pin.ref == target.as_uri()
    assert image.pin.data["origin"] == (mine / "root.ext4").as_uri()
    assert bench.leftovers() == []


def test_the_configuration_of_programs_comes_along(bench, tmp_path):
    bench.run(lambda engine, op: engine.images.pull("fake://small", op))
    # The fakes' kernel is none that an import would take: only what is written is looked at
    target = tmp_path / "small.tar"
    export(bench, target, "small")
    with tarfile.open(target) as archive:
        text = archive.extractfile("manifest.json").read()
    assert b'"FAKE=1"' in text
    assert b'"/bin/sh"' in text
    with pytest.raises(UsageProblem, match="which version"):
        take(bench, target, name="again")
    assert set(bench.images()) == {"small"}
    assert bench.leftovers() == []


def test_the_same_image_gives_the_same_bytes(bench, own, tmp_path):
    first, second = tmp_path / "a.tar.zst", tmp_path / "b.tar.zst"
    export(bench, first)
    bench.run(lambda engine, op: engine.registrar.promote("own", op))
    # Other holes on the host, the same content
    rootfs = bench.images()["own"].rootfs
    rootfs.write_bytes(rootfs.read_bytes())
    export(bench, second)
    assert first.read_bytes() == second.read_bytes()


def tarfile_of(path, into):
    """What GNU tar makes of a bundle, by name."""
    into.mkdir()
    subprocess.run(["tar", "--zstd", "-xf", path, "-C", into], check=True)
    found = {
        str(file.relative_to(into)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in into.rglob("*")
        if file.is_file()
    }
    assert file_is_sparse(into / "rootfs.ext4")
    shutil.rmtree(into)
    return found


def file_is_sparse(path):
    facts = path.stat()
    return facts.st_blocks * 512 < facts.st_size


def test_other_programs_read_it(bench, own, mine, bundle, tmp_path):
    found = tarfile_of(bundle, tmp_path / "out")
    assert found["rootfs.ext4"] == hashlib.sha256((mine / "root.ext4").read_bytes()).hexdigest()


def test_a_machine_is_made_of_an_imported_image(bench, own, bundle):
    from banger_core.model import VmRequest

    delete(bench, "own")
    take(bench, bundle)
    record, _ = bench.run(
        lambda engine, op: engine.machines.create(
            VmRequest(image="own", name="one"), op, start=False
        )
    )
    assert record.image_id == bench.images()["own"].id


def test_names_are_taken_once(bench, own, bundle):
    with pytest.raises(Conflict, match="named own already"):
        take(bench, bundle)
    with pytest.raises(UsageProblem):
        take(bench, bundle, name="../x")
    assert take(bench, bundle, name="other").name == "other"


def test_where_it_cannot_be_written(bench, own, tmp_path):
    there = tmp_path / "there.tar"
    there.write_text("precious")
    with pytest.raises(Conflict, match="there already"):
        export(bench, there)
    assert there.read_text() == "precious"
    assert export(bench, there, force=True).size > 1 << 10
    with pytest.raises(UsageProblem, match="does not say"):
        export(bench, tmp_path / "own.zip")
    with pytest.raises(HostNotReady, match="cannot be written"):
        export(bench, tmp_path / "no" / "own.tar")
    with pytest.raises(NotFound):
        export(bench, tmp_path / "x.tar", "nobody")
    (tmp_path / "dir.tar").mkdir()
    with pytest.raises(Conflict):
        export(bench, tmp_path / "dir.tar", force=True)


def test_a_failed_export_leaves_the_old_file(bench, own, tmp_path, monkeypatch):
    target = tmp_path / "own.tar"
    target.write_text("old")
    monkeypatch.setenv("BANGER_FAILPOINT", "export.after_write:error")
    with pytest.raises(BangerError, match="failpoint"):
        export(bench, target, force=True)
    assert target.read_text() == "old"
    assert not list(tmp_path.glob(".*partial"))


# --- damage and malice ----------------------------------------------------------------------------


def refused(bench, source, kind, words, **more):
    with pytest.raises(kind) as caught:
        take(bench, source, **{"name": "new", **more})
    text = f"{caught.value.summary} {caught.value.cause}"
    assert words in text, text
    assert "new" not in bench.images()
    assert bench.leftovers() == []


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.9999])
def test_a_truncated_bundle_is_refused(bench, bundle, share):
    data = bundle.read_bytes()
    bundle.write_bytes(data[: int(len(data) * share)])
    refused(bench, bundle, (IntegrityError, HostileInput), "own.tar.zst is not imported")


def test_another_digest_is_refused_before_it_is_opened(bench, bundle):
    refused(bench, bundle, IntegrityError, "not what was promised", sha256="0" * 64)


class Rewrite:
    """A bundle taken apart and put together again, otherwise."""

    def __init__(self, source, target):
        self.target = target
        with tarfile.open(source) as archive:
            self.members = [
                (member.name, archive.extractfile(member).read(), b"0", "") for member in archive
            ]
            # The sparse one as it is, headers and all
            raw = source.read_bytes()[archive.getmember("rootfs.ext4").offset :]
        self.members[-1] = ("rootfs.ext4", raw[:-1024], b"raw", "")

    def manifest(self, change):
        name, data, *rest = self.members[0]
        found = json.loads(data)
        change(found)
        self.members[0] = (name, json.dumps(found).encode(), *rest)

    def write(self):
        with self.target.open("wb") as file:
            for name, data, kind, link in self.members:
                if kind == b"raw":
                    file.write(data)
                    continue
                member = tarfile.TarInfo(name)
                member.type, member.linkname = kind, link
                member.size = len(data) if kind == b"0" else 0
                file.write(member.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512))
            file.write(bytes(1024))
        return self.target


@pytest.fixture
def rewrite(bench, own, tmp_path):
    plain = tmp_path / "plain.tar"
    export(bench, plain)
    return Rewrite(plain, tmp_path / "evil.tar")


def test_it_is_the_changes_that_are_refused(bench, rewrite):
    assert take(bench, rewrite.write(), name="new").name == "new"


@pytest.mark.parametrize(
    ("at", "member", "words"),
    [
        (1, ("../evil", b"x", b"0", ""), "where kernel/vmlinux should be"),
        (1, ("/etc/evil", b"x", b"0", ""), "where kernel/vmlinux should be"),
        (1, ("kernel/vmlinux", b"", b"2", "/etc/passwd"), "is a symlink"),
        (1, ("kernel/vmlinux", b"", b"1", "manifest.json"), "is a hardlink"),
        (1, ("kernel/vmlinux", b"", b"3", ""), "is a char"),
        (1, ("kernel/vmlinux", b"", b"5", ""), "where kernel/vmlinux should be"),
        (1, ("kernel/vmlinux", b"short", b"0", ""), "5 bytes"),
        (0, ("other", b"x", b"0", ""), "neither manifest.json nor bundle.json"),
        (0, ("manifest.json", b"{", b"0", ""), "it is no JSON"),
        (0, ("manifest.json", b"[]", b"0", ""), "manifest is not one"),
        (0, ("manifest.json", b"[" * 100_000, b"0", ""), "it is no JSON"),
        (99, ("more", b"x", b"0", ""), "more than its manifest says"),
    ],
)
def test_members_that_are_not_expected(bench, rewrite, at, member, words):
    rewrite.members.insert(at, member)
    refused(bench, rewrite.write(), HostileInput if "bytes" not in words else IntegrityError, words)


def test_a_member_that_is_missing(bench, rewrite):
    del rewrite.members[-1]
    refused(bench, rewrite.write(), IntegrityError, "rootfs.ext4 is missing")


@pytest.mark.parametrize("which", [1, 2, -1])
def test_one_changed_byte(bench, rewrite, which):
    name, data, *rest = rewrite.members[which]
    at = len(data) // 2 if which != -1 else 70_000
    changed = bytearray(data)
    changed[at] ^= 1
    rewrite.members[which] = (name, bytes(changed), *rest)
    refused(bench, rewrite.write(), (IntegrityError, HostileInput), "evil.tar is not imported")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(version=2), "another version"),
        (lambda m: m.update(format="x"), "manifest is not one"),
        (lambda m: m.update(surprise=1), "surprise"),
        (lambda m: m.update(architecture="mips"), "architecture"),
        (lambda m: m["files"].reverse(), "rootfs.ext4 are needed"),
        (lambda m: m["files"].insert(0, m["files"][0]), "listed twice"),
        (lambda m: m["files"][1].update(path="../vmlinux"), "has no place"),
        (lambda m: m["files"][1].update(path="kernel/modules/../../x.ko"), "no module"),
        (lambda m: m["files"][1].update(path="kernel/modules/a/\x00.ko"), "pattern"),
        (lambda m: m["files"][0].update(size=1 << 40, stored=1 << 40), "too big"),
        (lambda m: m["files"][0].update(size=-1), "greater than"),
        (lambda m: m["files"][0].update(sha256="zz"), "pattern"),
        (lambda m: m["files"][0].update(sparse=True), "only one"),
        (lambda m: m["files"][-1].update(stored=1), "more in it than"),
    ],
)
def test_manifests_that_are_not_taken(bench, rewrite, change, words):
    rewrite.manifest(change)
    refused(bench, rewrite.write(), HostileInput, words)


def test_one_for_another_processor(bench, rewrite):
    rewrite.manifest(lambda m: m.update(architecture="arm64"))
    refused(bench, rewrite.write(), UsageProblem, "linux/arm64")


def test_a_root_file_system_that_is_none(bench, rewrite):
    digest = SparseDigest()
    digest.data(b"x" * 4096)

    def change(manifest):
        manifest["files"][-1].update(size=4096, stored=4096, sha256=digest.hexdigest())

    rewrite.manifest(change)
    rewrite.members[-1] = ("rootfs.ext4", b"x" * 4096, b"0", "")
    refused(bench, rewrite.write(), IntegrityError, "no ext4 file system")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x28\xb5\x2f\xfd" + b"junk" * 99, bytes(2048)])
def test_what_is_no_archive(bench, tmp_path, data):
    path = tmp_path / "junk.tar.zst"
    path.write_bytes(data)
    kinds = (IntegrityError, HostileInput, UsageProblem)
    refused(bench, path, kinds, "junk.tar.zst")


def test_a_full_disk_leaves_nothing(bench, bundle, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("banger_core.bundle.unpack._write_sparse", full)
    refused(bench, bundle, NoSpace, "no space left")


def test_too_little_space_is_said_before(bench, bundle, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000))
    refused(bench, bundle, NoSpace, "too little space for the image new")


def test_what_is_not_there(bench, tmp_path):
    refused(bench, tmp_path / "no.tar", UsageProblem, "cannot be taken")
    refused(bench, "relative.tar", UsageProblem, "nothing that can be imported")
    os.mkfifo(tmp_path / "pipe.tar")
    refused(bench, tmp_path / "pipe.tar", UsageProblem, "not a regular file")


# --- from servers ---------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            if self.path == "/away":
                self.send_response(302)
                self.send_header("Location", "http://192.0.2.1/own.tar.zst")
                self.end_headers()
            elif self.path == "/near":
                self.send_response(302)
                self.send_header("Location", "/own.tar.zst")
                self.end_headers()
            elif self.path == "/short":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"x")
            else:
                super().do_GET()

    handler: type[BaseHTTPRequestHandler] = partial(Quiet, directory=str(tmp_path))  # type: ignore[assignment]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_bundle_from_a_server(bench, bundle, server):
    digest = hashlib.sha256(bundle.read_bytes()).hexdigest()
    image = take(bench, f"{server}/near", name="new", sha256=digest)
    assert image.pin.ref == f"{server}/near"
    assert bench.leftovers() == []


def test_servers_that_do_not_give_it(bench, bundle, server):
    refused(bench, f"{server}/no.tar", Unreachable, "HTTP status 404")
    refused(bench, f"{server}/short", Unreachable, "cannot be fetched")
    refused(bench, f"{server}/away", HostileInput, "plain http is for this host only")
    refused(
        bench, f"{server}/own.tar.zst", IntegrityError, "not what was promised", sha256="1" * 64
    )


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1/x", "https://u:p@example.com/x", "https:///x", "https://h:0/x"]
)
def test_urls_that_nothing_is_fetched_from(bench, url):
    refused(bench, url, UsageProblem, "is not fetched")


# --- parts ----------------------------------------------------------------------------------------


def test_parts_do_not_depend_on_holes(tmp_path):
    content = b"a" * 100 + bytes(200_000) + b"b" * 70_000 + bytes(1 << 20) + b"c"
    dense, sparse = tmp_path / "dense", tmp_path / "sparse"
    dense.write_bytes(content)
    sparse.touch()
    with sparse.open("r+b") as file:
        for offset in range(0, len(content), 4096):
            if content[offset : offset + 4096].strip(b"\0"):
                file.seek(offset)
                file.write(content[offset : offset + 4096])
        file.truncate(len(content))

    def quiet(_):
        pass

    parts = find_parts(dense, quiet)
    assert parts == find_parts(sparse, quiet)
    assert [offset // 65536 for offset, _ in parts] == [0, 3, 20]
    assert sum(parts[-1]) == len(content)
    digests = {digest_of(path, parts, quiet).hexdigest() for path in (dense, sparse)}
    listed = "".join(f"{offset} {size}\n" for offset, size in parts) + f"{len(content)}\n"
    data = b"".join(content[offset : offset + size] for offset, size in parts)
    assert digests == {hashlib.sha256(data + listed.encode()).hexdigest()}


def test_very_many_parts_are_joined(tmp_path, monkeypatch):
    monkeypatch.setattr("banger_core.bundle.parts.PARTS_MAX", 3)
    path = tmp_path / "comb"
    path.write_bytes((b"x" + bytes((1 << 17) - 1)) * 8)
    assert find_parts(path, lambda _: None) == [(0, 1 << 20)]
