from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from banger_core.model import Entry, EntryKind
from banger_core.rootfs.build import RootfsFacts, build_rootfs

SBIN = ":".join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
MIB = 1 << 20


def tool(name: str) -> str:
    found = shutil.which(name, path=SBIN)
    assert found, f"{name} is needed by these tests"
    return found


# --- making images -----------------------------------------------------------------------------


@dataclass
class FakeLayer:
    """Gives fresh entries each time it is asked, for a builder may ask twice."""

    make: Callable[[], Iterator[Entry]]
    digest: str = "sha256:" + "0" * 64

    def entries(self) -> Iterator[Entry]:
        return self.make()


def opener(*layers: Callable[[], Iterator[Entry]]):
    @contextlib.contextmanager
    def opened():
        yield [FakeLayer(layer) for layer in layers]

    return opened


@pytest.fixture
def open_layers():
    return opener


@pytest.fixture
def build(tmp_path):
    """``build(*layers)``: layers are functions that yield entries; returns image and facts."""

    def run(*layers, name="root.ext4", size=64 * MIB, identity=b"test", **more) -> Built:
        out = tmp_path / name
        facts = build_rootfs(opener(*layers), out, size=size, identity=identity, **more)
        return Built(out, facts)

    return run


@dataclass
class Built:
    image: Path
    facts: RootfsFacts

    def tree(self) -> dict[bytes, Found]:
        return read_back(self.image)


def file(path: bytes, content: bytes = b"", **more) -> Entry:
    return Entry(path, EntryKind.FILE, size=len(content), data=iter([content]), **more)


@pytest.fixture
def file_entry():
    return file


@pytest.fixture
def tar_of():
    """``tar_of((name, fields, content), ...)`` as the standard library writes it."""

    def make(*members, dialect=tarfile.PAX_FORMAT, encoding="utf-8") -> bytes:
        out = io.BytesIO()
        with tarfile.open(
            fileobj=out, mode="w", format=dialect, encoding=encoding, errors="surrogateescape"
        ) as archive:
            for name, fields, content in members:
                info = tarfile.TarInfo(name)
                for key, value in fields.items():
                    setattr(info, key, value)
                info.size = len(content) if info.isreg() else 0
                archive.addfile(info, io.BytesIO(content))
        return out.getvalue()

    return make


# --- reading them back, with debugfs as the judge of every structure ------------------------------


@dataclass
class Found:
    image: Path
    inode: int
    kind: EntryKind
    mode: int
    uid: int
    gid: int
    size: int
    links: int
    mtime_ns: int
    sectors: int
    rdev: tuple[int, int] = (0, 0)
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    target: bytes = b""
    extents: list[tuple[int, int, int]] = field(default_factory=list)
    tree_blocks: int = 0
    flags: int = 0

    def content(self) -> bytes:
        out = bytearray(self.size)
        for offset, data in self.parts():
            out[offset : offset + len(data)] = data
        return bytes(out)

    def parts(self) -> Iterator[tuple[int, bytes]]:
        """What is stored, by offset in the file; everything else is a hole."""
        with self.image.open("rb") as disk:
            for logical, start, blocks in self.extents:
                disk.seek(start * 4096)
                yield logical * 4096, disk.read(blocks * 4096)[: self.size - logical * 4096]


_KINDS = {
    b"regular": EntryKind.FILE,
    b"directory": EntryKind.DIRECTORY,
    b"symlink": EntryKind.SYMLINK,
    b"character special": EntryKind.CHAR,
    b"block special": EntryKind.BLOCK,
    b"FIFO": EntryKind.FIFO,
}


def debugfs(image: Path, commands: list[str]) -> list[bytes]:
    """Answers to read-only commands, one each."""
    done = subprocess.run(
        [tool("debugfs"), "-f", "-", str(image)],
        input="\n".join(commands).encode() + b"\n",
        capture_output=True,
        check=True,
        env={"TZ": "UTC", "LC_ALL": "C", "PATH": SBIN},
    )
    answers = re.split(
        rb"(?:^|(?<=\n))debugfs: (?:%s)\n"
        % b"|".join(sorted({re.escape(command.encode()) for command in commands}, reverse=True)),
        done.stdout,
    )[1:]
    assert len(answers) == len(commands), done.stderr
    return answers


def read_back(image: Path) -> dict[bytes, Found]:
    """Every path of the image; the root is ``b""``. lost+found is left out when it is empty."""
    names: dict[bytes, int] = {b"": 2}
    level = {b"": 2}
    while level:
        answers = debugfs(image, [f"ls -p <{number}>" for number in level.values()])
        below: dict[bytes, int] = {}
        for path, listing in zip(level, answers, strict=True):
            rows = re.findall(rb"/(\d+)/(\d{6})/-?\d+/-?\d+/([^/]*)/\d*/\n", listing)
            for number, mode, name in rows:
                if name in (b".", b".."):
                    continue
                full = path + b"/" + name if path else name
                assert full not in names, f"{full!r} is listed twice"
                names[full] = int(number)
                if mode.startswith(b"04"):
                    below[full] = int(number)
        level = below
    numbers = sorted(set(names.values()))
    found = dict(zip(numbers, _inodes(image, numbers), strict=True))
    tree = {path: found[number] for path, number in names.items()}
    if not any(path.startswith(b"lost+found/") for path in tree):
        del tree[b"lost+found"]
    return tree


def _inodes(image: Path, numbers: list[int]) -> list[Found]:
    texts = debugfs(image, [f"stat <{number}>" for number in numbers])
    return [_inode(image, number, text) for number, text in zip(numbers, texts, strict=True)]


def _inode(image: Path, number: int, text: bytes) -> Found:
    def value(pattern: bytes) -> bytes:
        found = re.search(pattern, text)
        assert found, (pattern, text)
        return found[1]

    seconds, extra = (int(part, 16) for part in value(rb"mtime: 0x(\w+:\w+)").split(b":"))
    signed = seconds - (1 << 32) if seconds >> 31 else seconds
    found = Found(
        image=image,
        inode=number,
        kind=_KINDS[value(rb"Type: ([\w ]+?)    ")],
        mode=int(value(rb"Mode:  (\d+)"), 8),
        uid=int(value(rb"User: +(-?\d+)")) % 2**32,
        gid=int(value(rb"Group: +(-?\d+)")) % 2**32,
        size=int(value(rb"Size: (\d+)\n")),
        links=int(value(rb"Links: (\d+)")),
        mtime_ns=(signed + ((extra & 3) << 32)) * 10**9 + (extra >> 2),
        sectors=int(value(rb"Blockcount: (\d+)")),
        flags=int(value(rb"Flags: 0x(\w+)"), 16),
    )
    if device := re.search(rb"major/minor number: (\d+):(\d+)", text):
        found.rdev = int(device[1]), int(device[2])
    _read_extents(found, text)
    _read_xattrs(found, image, number, text)
    if found.kind is EntryKind.SYMLINK:
        fast = re.search(rb'Fast link dest: "(.*)"\n?', text, re.DOTALL)
        found.target = fast[1] if fast else found.content()
    return found


def _read_extents(found: Found, text: bytes) -> None:
    _, _, extents = text.partition(b"EXTENTS:\n")
    for tree, logical, start in re.findall(rb"\((ETB)?([\d-]+)\):([\d-]+)", extents):
        first = int(start.split(b"-")[0])
        if tree:
            found.tree_blocks += 1
            continue
        ends = [int(part) for part in logical.split(b"-")]
        found.extents.append((ends[0], first, ends[-1] - ends[0] + 1))


def _read_xattrs(found: Found, image: Path, number: int, text: bytes) -> None:
    _, _, listed = text.partition(b"Extended attributes:\n")
    names = re.findall(rb"^  ([\w.]+) \(\d+\)", listed, re.MULTILINE)
    if not names:
        return
    commands = [f"ea_get -x <{number}> {name.decode()}" for name in names]
    for name, answer in zip(names, debugfs(image, commands), strict=True):
        size, _, digits = answer.partition(b" = ")
        found.xattrs[name] = bytes.fromhex(digits.decode())
        assert b"(%d)" % len(found.xattrs[name]) in size


@pytest.fixture
def read_image():
    return read_back


@pytest.fixture
def ask_debugfs():
    return debugfs


@pytest.fixture
def fsck():
    """Fails unless a full, read-only e2fsck finds nothing at all."""

    def run(image: Path) -> None:
        done = subprocess.run(
            [tool("e2fsck"), "-fn", str(image)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return run


@pytest.fixture
def mounted(tmp_path):
    """``with mounted(image) as directory``: the kernel's own view, read-only."""

    @contextlib.contextmanager
    def mount(image: Path):
        if os.geteuid():
            pytest.skip("the kernel mounts images for root only; debugfs has judged this one")
        place = tmp_path / "mounted"
        place.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-o", "loop,ro,noload", str(image), str(place)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"no loop mounts here: {done.stderr.strip()}")
        try:
            yield place
        finally:
            subprocess.run(["umount", str(place)], check=True)

    return mount
