"""Archives written byte by byte, as no honest program writes them, and what is made of them."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1 << 20
MEMORY = 256 * MIB
"""Address space in bytes that building may take, whatever the image is."""

END = bytes(1024)


# --- one archive ---------------------------------------------------------------------------------


def number(value, width):
    """A number field: raw bytes as they are, octal where it fits, GNU's base 256 where not."""
    if isinstance(value, bytes):
        return value.ljust(width, b"\0")
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return (value % (1 << 8 * width) | 0x80 << 8 * (width - 1)).to_bytes(width, "big")


def header(
    name=b"f",
    flag=b"0",
    *,
    size=0,
    mode=0o644,
    uid=0,
    gid=0,
    mtime=0,
    link=b"",
    rdev=(0, 0),
    prefix=b"",
    magic=b"ustar\x0000",
    **raw,
):
    """One header with a right checksum. ``raw`` puts bytes at offsets: ``o345=b"..."``."""
    block = bytearray(512)
    fields = {
        0: name[:100], 100: number(mode, 8), 108: number(uid, 8), 116: number(gid, 8),
        124: number(size, 12), 136: number(mtime, 12), 156: flag, 157: link[:100], 257: magic,
        329: number(rdev[0], 8), 337: number(rdev[1], 8), 345: prefix,
    }  # fmt: skip
    fields |= {int(offset[1:]): value for offset, value in raw.items()}
    for offset, value in fields.items():
        block[offset : offset + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def numbered(entry, mark, count):
    """Yield ``entry`` (one header) so often, the seven bytes ``mark`` of its name a number."""
    at = entry.index(mark)
    front, middle, back = entry[:at], entry[at + 7 : 148], entry[156:]
    rest = sum(front) + sum(middle) + sum(back) + 8 * ord(" ")
    for value in range(count):
        name = b"%07d" % value
        yield front + name + middle + b"%06o\0 " % (rest + sum(name)) + back


def padded(data):
    return data + bytes(-len(data) % 512)


def file(name, content=b"", **fields):
    return header(name, size=len(content), **fields) + padded(content)


def directory(name, **fields):
    return header(name, b"5", **{"mode": 0o755, **fields})


def symlink(name, target, **fields):
    return header(name, b"2", link=target, **{"mode": 0o777, **fields})


def hardlink(name, target, **fields):
    return header(name, b"1", link=target, **fields)


def device(name, major, minor, flag=b"3", **fields):
    return header(name, flag, rdev=(major, minor), **fields)


def fifo(name, **fields):
    return header(name, b"6", **fields)


def record(key, value):
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


def extension(flag, data, **fields):
    return header(b"extension", flag, size=len(data), **fields) + padded(data)


def pax(flag=b"x", **records):
    """An extended header: ``pax(path=b"x")``; a key with dots comes as ``pax(**{"a.b": b"x"})``."""
    return extension(flag, b"".join(record(key.encode(), records[key]) for key in records))


def xattrs(**values):
    """An extended header with attributes: ``xattrs(**{"user.a": b"1"})``."""
    return pax(**{f"SCHILY.xattr.{name}": value for name, value in values.items()})


def gnu_name(name):
    return extension(b"L", name + b"\0")


def gnu_link(target):
    return extension(b"K", target + b"\0")


def tar(*parts):
    return b"".join(parts) + END


# --- an image of it ------------------------------------------------------------------------------


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Blob:
    """A layer as it is stored, and the digests that are promised for it."""

    packed: bytes
    digest: str
    diff_id: str

    @classmethod
    def of(cls, archive, packed=None):
        packed = gzip.compress(archive, 6, mtime=0) if packed is None else packed
        return cls(packed, sha256(packed), sha256(archive))


@dataclass
class Outcome:
    """What came of building: an image, or the error with its words."""

    image: Path
    error: str = ""
    summary: str = ""
    cause: str = ""
    facts: dict = field(default_factory=dict)
    rss: int = 0

    @property
    def used(self):
        """Bytes that the target file takes on the disk."""
        return self.image.stat().st_blocks * 512


_CHILD = Path(__file__).with_name("oci_build_child.py")


def write_job(blobs, directory, size=64 * MIB):
    """Store the blobs and the order to build them; returns the order's file and the target."""
    stored, target = directory / "blobs", directory / "target"
    stored.mkdir(exist_ok=True)
    target.mkdir(exist_ok=True)
    layers = []
    for blob in blobs:
        path = stored / hashlib.sha256(blob.packed).hexdigest()
        path.write_bytes(blob.packed)
        layers.append([str(path), blob.digest, blob.diff_id])
    image = target / "root.ext4"
    job = directory / "job.json"
    job.write_text(
        json.dumps({"layers": layers, "out": str(image), "size": size, "memory": MEMORY})
    )
    return job, image


def build_command(job):
    return [sys.executable, "-I", "-B", str(_CHILD), str(job)]


def build(blobs, directory, size=64 * MIB):
    """Build an image in a process of its own that has ``MEMORY`` bytes of address space."""
    job, image = write_job(blobs, directory, size)
    done = subprocess.run(build_command(job), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    outcome = Outcome(image, **said)
    left = sorted(path.name for path in image.parent.iterdir())
    assert left == ([] if outcome.error else [image.name])
    return outcome
