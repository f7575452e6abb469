"""The images that are measured: made here, always the same, kept for the next run.

Each is an OCI layout. Contents are text of common words and bytes of uneven frequency, mixed so
that gzip makes about half of them, as it does of a real image; nothing in them repeats within
gzip's window more often than words do.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

EDITION = "1"
"""Changes whenever what is made here does: older ones are then not used any more."""

_POOL = 16 << 20
_CAPABILITY = "\x01\x00\x00\x02\x00\x20\x00\x00" + "\x00" * 12
_GZIP_LEVEL = 6


class Content:
    """Bytes that look like programs and text, as many as are asked for."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        letters = "etaoinshrdlucmfwypvbgkjqxz"
        weights = range(len(letters) * 2, 0, -2)
        words = [
            "".join(self.chance.choices(letters, weights, k=self.chance.randint(2, 10)))
            for _ in range(6000)
        ]
        common = [1 / (rank + 3) for rank in range(len(words))]
        self._text = " ".join(self.chance.choices(words, common, k=_POOL // 7)).encode()
        skewed = bytes(int((value / 256) ** 9 * 256) for value in range(256))
        self._binary = self.chance.randbytes(_POOL).translate(skewed)

    def take(self, size: int) -> bytes:
        """Return ``size`` bytes, half of them of the kind that programs are made of."""
        pieces = []
        while size > 0:
            pool = self._binary if self.chance.random() < 0.5 else self._text
            part = min(size, self.chance.randint(2_000, 60_000))
            at = self.chance.randrange(len(pool) - part)
            pieces.append(pool[at : at + part])
            size -= part
        return b"".join(pieces)


class LayerTar:
    """One layer being written, gzipped on the way."""

    def __init__(self, blobs: Path, content: Content) -> None:
        self._blobs, self._content = blobs, content
        self._file = (blobs / "making").open("wb")
        self._packer = zlib.compressobj(_GZIP_LEVEL, wbits=31)
        self._packed, self._plain = hashlib.sha256(), hashlib.sha256()
        self._known: set[str] = set()
        self._tar = tarfile.open(  # noqa: SIM115 - closed by finish
            fileobj=self, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20
        )

    def write(self, data: bytes) -> int:
        self._plain.update(data)
        self._keep(self._packer.compress(data))
        return len(data)

    def _keep(self, packed: bytes) -> None:
        self._packed.update(packed)
        self._file.write(packed)

    def add(self, name: str, data: bytes = b"", **fields: object) -> None:
        """Add an entry, and the directories above it that this layer does not have yet."""
        above = name.rpartition("/")[0]
        if above and above not in self._known:
            self._known.add(above)
            self.add(above, type=tarfile.DIRTYPE, mode=0o755)
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = len(data), 1_700_000_000 + len(name), 0o644
        for key, value in fields.items():
            setattr(info, key, value)
        self._tar.addfile(info, io.BytesIO(data))

    def files(self, names: Iterator[str], total: int, amount: int) -> None:
        """Add ``amount`` files of ``total`` bytes in all, most of them small and a few large."""
        shares = [self._content.chance.lognormvariate(0, 1.7) for _ in range(amount)]
        whole = sum(shares)
        for number, (share, name) in enumerate(zip(shares, names, strict=False)):
            mode = 0o755 if number % 5 == 0 else 0o644
            self.add(name, self._content.take(int(share / whole * total)), mode=mode)

    def links(self, names: Iterator[str], amount: int) -> None:
        """Add symbolic links and, of every third file, a hard link."""
        for number in range(amount):
            name = next(names)
            if number % 3:
                self.add(name, type=tarfile.SYMTYPE, linkname=f"../share/target-{number}")
            else:
                self.add(f"{name}.first", self._content.take(900))
                self.add(name, type=tarfile.LNKTYPE, linkname=f"{name}.first")

    def finish(self) -> tuple[dict[str, object], str]:
        """Return the layer's descriptor and the digest of what is in it."""
        self._tar.close()
        self._keep(self._packer.flush())
        size = self._file.tell()
        self._file.close()
        digest = self._packed.hexdigest()
        (self._blobs / "making").rename(self._blobs / digest)
        described = {
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": f"sha256:{digest}",
            "size": size,
        }
        return described, f"sha256:{self._plain.hexdigest()}"


def names(where: str, per_directory: int = 40) -> Iterator[str]:
    """Yield names below ``where``, ``per_directory`` of them side by side."""
    number = 0
    while True:
        yield f"{where}/part-{number // per_directory:04}/file-{number:06}.bin"
        number += 1


Make = Callable[[LayerTar], None]


def _base(layer: LayerTar, total: int, amount: int) -> None:
    for name in ("bin", "lib", "sbin"):
        layer.add(name, type=tarfile.SYMTYPE, linkname=f"usr/{name}", mode=0o777)
    layer.add("etc/shadow", b"root:*:19000::::::\n", mode=0o640, gid=42)
    layer.add("usr/bin/sudo", b"\x7fELF" * 9000, mode=0o4755)
    layer.add("usr/bin/ping", b"\x7fELF" * 9000, mode=0o755)
    layer.add(
        "usr/bin/capable",
        b"\x7fELF",
        mode=0o755,
        pax_headers={"SCHILY.xattr.security.capability": _CAPABILITY},
    )
    layer.files(names("usr/lib"), total, amount)
    layer.links(names("usr/links"), amount // 12)


def _files(where: str, total: int, amount: int) -> Make:
    return lambda layer: layer.files(names(where), total, amount)


def _changes(layer: LayerTar) -> None:
    for number, name in zip(range(2000), names("srv/tree-0"), strict=False):
        layer.add(name, b"changed %d\n" % number)


def _removals(layer: LayerTar) -> None:
    for _, name in zip(range(1000), names("srv/tree-1"), strict=False):
        above, _, last = name.rpartition("/")
        layer.add(f"{above}/.wh.{last}")
    layer.add("srv/tree-2/part-0000/.wh..wh..opq")
    layer.add("srv/tree-2/part-0000/only-this", b"here\n")


def _small() -> list[Make]:
    return [
        lambda layer: _base(layer, 78 << 20, 5000),
        _files("usr/share/locale", 20 << 20, 900),
        _files("usr/local/lib", 55 << 20, 700),
        _files("srv/app", 2 << 20, 60),
    ]


def _large() -> list[Make]:
    return [
        lambda layer: _base(layer, 80 << 20, 5200),
        _files("usr/lib/runtime", 170 << 20, 2600),
        _files("opt/cache", 240 << 20, 300),
        _files("usr/lib/tools", 150 << 20, 2000),
        lambda layer: layer.add("opt/.wh.cache"),
        _files("usr/lib/modules", 90 << 20, 1500),
        _files("srv/app", 50 << 20, 700),
        _files("srv/data", 3 << 20, 40),
    ]


def _many() -> list[Make]:
    def tree(number: int) -> Make:
        return _files(f"srv/tree-{number}", 82 << 20, 20_000)

    return [tree(0), tree(1), tree(2), _changes, _removals]


def _more() -> list[Make]:
    return [*_small(), _files("srv/more", 20 << 20, 300)]


IMAGES = {"small": _small, "large": _large, "many": _many, "more": _more}
"""``more`` is ``small`` with one layer on top."""


def make_image(name: str, parent: Path) -> Path:
    """Return the OCI layout of the image ``name`` below ``parent``, made now if it is not there."""
    layout = parent / f"{name}-{EDITION}"
    if layout.exists():
        return layout
    half_made = layout.with_suffix(".making")
    shutil.rmtree(half_made, ignore_errors=True)
    blobs = half_made / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers = []
    for number, make in enumerate(IMAGES[name]()):
        # The same seed for the same place: what two images share is the same layer
        layer = LayerTar(blobs, Content(number + 1))
        make(layer)
        layers.append(layer.finish())
    _describe(half_made, blobs, layers)
    half_made.rename(layout)
    return layout


def _describe(layout: Path, blobs: Path, layers: list[tuple[dict[str, object], str]]) -> None:
    def keep(kind: str, document: object) -> dict[str, object]:
        data = json.dumps(document).encode()
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        media_type = f"application/vnd.oci.image.{kind}.v1+json"
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    configuration = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
    }
    manifest = keep(
        "manifest",
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": keep("config", configuration),
            "layers": [described for described, _ in layers],
        },
    )
    tagged = {**manifest, "annotations": {"org.opencontainers.image.ref.name": "1"}}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [tagged]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
