"""Layers that mean harm, the whole way from blob to file system: refused, or harmless inside it.

Every case is built in a process that has 256 MiB of address space; the timeout bounds its time.
"""

from __future__ import annotations

import gzip
import lzma
import struct
import subprocess
import zlib
from dataclasses import dataclass

import pytest
from backports import zstd
from oci_archives import (
    END,
    MEMORY,
    MIB,
    Blob,
    build,
    device,
    directory,
    extension,
    fifo,
    file,
    gnu_link,
    gnu_name,
    hardlink,
    header,
    numbered,
    padded,
    pax,
    record,
    sha256,
    symlink,
    tar,
    xattrs,
)
from oci_ext4 import Ext4, read_tree

pytestmark = pytest.mark.timeout(300)


@dataclass
class Case:
    make: object
    error: str = ""
    words: str = ""
    tree: dict | None = None
    facts: dict | None = None


CASES: dict[str, Case] = {}


def refused(error, words):
    def keep(make):
        CASES[make.__name__] = Case(make, error, words)
        return make

    return keep


def harmless(tree, **facts):
    """The whole tree, told as ``describe`` tells it, and attributes of paths in ``facts``."""

    def keep(make):
        CASES[make.__name__] = Case(make, tree=tree, facts=facts)
        return make

    return keep


hostile = lambda words: refused("HostileInput", words)  # noqa: E731
damaged = lambda words: refused("IntegrityError", words)  # noqa: E731

OUTSIDE = "leaves its root"
INSIDE = {b"etc": "dir", b"etc/passwd": "file root"}
BASE = tar(directory(b"etc"), file(b"etc/passwd", b"root"))


def blobs_of(made):
    made = made if isinstance(made, list) else [made]
    return [one if isinstance(one, Blob) else Blob.of(one) for one in made]


def describe(inode):
    if inode.kind == "file":
        return "file " + inode.content.decode("latin-1") if inode.size <= 4096 else "file ..."
    if inode.kind == "link":
        return "-> " + inode.target.decode("latin-1")
    if inode.kind in ("char", "block"):
        return f"{inode.kind} {inode.rdev[0]}:{inode.rdev[1]}"
    return inode.kind


def told(tree):
    return {path: describe(inode) for path, inode in tree.items() if path}


# --- names that lead elsewhere ----------------------------------------------------------------


@hostile(OUTSIDE)
def a_name_above_the_root():
    return tar(file(b"../outside"))


@hostile(OUTSIDE)
def a_name_that_goes_in_and_further_out():
    return tar(directory(b"a"), file(b"a/b/../../../outside"))


@hostile(OUTSIDE)
def an_absolute_name_above_the_root():
    return tar(file(b"/../../etc/passwd"))


@hostile(OUTSIDE)
def a_symlink_called_dot_dot():
    return tar(symlink(b"..", b"/etc"))


@hostile("not a directory")
def a_symlink_called_dot_in_place_of_the_root():
    return [tar(symlink(b".", b"/etc")), tar(file(b"passwd", b"owned"))]


@hostile("not a directory")
def a_symlink_called_slash_in_place_of_the_root():
    return [tar(symlink(b"/", b"/etc")), tar(file(b"passwd", b"owned"))]


@hostile("not a directory")
def a_file_without_a_name():
    return tar(file(b"", b"data"))


@hostile("leads to nothing")
def a_hard_link_to_the_root():
    return tar(hardlink(b"root", b"/"))


@harmless(INSIDE)
def absolute_names_are_names_in_the_image():
    return tar(file(b"/etc/passwd", b"root"))


@harmless(INSIDE)
def dots_and_slashes_in_names_mean_nothing():
    return tar(directory(b"./"), directory(b".//./etc//"), file(b"//etc/./x/../passwd", b"root"))


@harmless({b"b": "file x"})
def dot_dot_is_worked_out_before_links_are_followed():
    return tar(symlink(b"b", b"/etc"), file(b"b/../b", b"x"))


@harmless({b"a": "dir"})
def a_directory_by_a_name_that_ends_in_dot_dot():
    return tar(directory(b"a/b/.."))


@hostile("too long")
def a_path_longer_than_any_kernel_takes():
    return tar(pax(path=b"/".join([b"n" * 200] * 21)), file(b"short"))


@hostile("too long")
def a_name_of_4096_bytes():
    return tar(gnu_name(b"n" * 4096), file(b"short"))


@hostile("too long")
def a_name_of_256_bytes():
    return tar(pax(path=b"n" * 256), file(b"short"))


@hostile("name too long")
def a_directory_name_of_256_bytes_on_the_way():
    return tar(pax(path=b"n" * 256 + b"/file"), file(b"short"))


@harmless({b"n" * 255: "dir", b"n" * 255 + b"/" + b"m" * 255: "file x"})
def names_of_255_bytes():
    return tar(pax(path=b"/".join([b"n" * 255, b"m" * 255])), file(b"short", b"x"))


@hostile("too deep")
def a_path_of_600_directories():
    return tar(pax(path=b"d/" * 600), directory(b"short"))


@hostile("too long")
def a_path_of_10000_directories():
    return tar(pax(path=b"d/" * 10_000), directory(b"short"))


@hostile("NUL")
def a_nul_hidden_in_a_name():
    return tar(pax(path=b"etc/passwd\0.txt"), file(b"short"))


@hostile("NUL")
def a_nul_hidden_in_a_link():
    return tar(pax(linkpath=b"/etc\0/x"), symlink(b"l", b"short"))


@harmless({b"a\ndump f leaked\n": "file x", b"-rf": "dir", b"$(id);`id`": "file y"})
def names_that_would_be_commands_elsewhere():
    return tar(
        pax(path=b"a\ndump f leaked\n"), file(b"s", b"x"),
        directory(b"-rf"), file(b"$(id);`id`", b"y"),
    )  # fmt: skip


@harmless({b"\xff\xfe\x80": "file x", b"\xc3\xa9": "file y", b"e\xcc\x81": "file z"})
def names_that_are_no_text_or_the_same_text():
    return tar(file(b"\xff\xfe\x80", b"x"), file(b"\xc3\xa9", b"y"), file(b"e\xcc\x81", b"z"))


@harmless({b"File": "file A", b"file": "file a", b"FILE": "-> file"})
def names_that_differ_in_case_only():
    return tar(file(b"File", b"A"), file(b"file", b"a"), symlink(b"FILE", b"file"))


@harmless({b"\x1b]0;owned\x07": "file x", b" ": "dir", b"\\": "file b"})
def names_that_a_terminal_would_obey():
    return tar(file(b"\x1b]0;owned\x07", b"x"), directory(b" "), file(b"\\", b"b"))


# --- symbolic links as a way out ------------------------------------------------------------------


@harmless({**INSIDE, b"l": "-> /etc"})
def writing_through_an_absolute_link():
    return tar(symlink(b"l", b"/etc"), file(b"l/passwd", b"root"))


@harmless({**INSIDE, b"a": "dir", b"a/l": "-> ../../../../../etc"})
def writing_through_a_link_that_climbs_above_the_root():
    return tar(symlink(b"a/l", b"../../../../../etc"), file(b"a/l/passwd", b"root"))


@harmless({**INSIDE, b"l": "-> /etc"})
def writing_through_a_link_of_a_lower_layer():
    return [tar(symlink(b"l", b"/etc")), tar(file(b"l/passwd", b"root"))]


@harmless({**INSIDE, b"a": "-> b", b"b": "-> ./c/", b"c": "-> /../etc"})
def writing_through_a_chain_of_links():
    return tar(
        symlink(b"a", b"b"), symlink(b"b", b"./c/"), symlink(b"c", b"/../etc"),
        file(b"a/passwd", b"root"),
    )  # fmt: skip


@harmless({
    b"proc": "dir", b"proc/self": "dir", b"proc/self/root": "dir", b"proc/self/root/x": "file x",
    b"l": "-> /proc/self/root",
})  # fmt: skip
def writing_through_a_link_to_the_hosts_own_root():
    return tar(symlink(b"l", b"/proc/self/root"), file(b"l/x", b"x"))


@harmless({b"l": "file owned", **INSIDE})
def a_file_in_place_of_a_link_leaves_its_target_alone():
    return [BASE, tar(symlink(b"l", b"/etc/passwd"), file(b"l", b"owned"))]


@harmless({b"l": "dir", b"l/passwd": "file x", **INSIDE})
def a_directory_in_place_of_a_link_is_no_way_to_its_target():
    return [BASE, tar(symlink(b"l", b"/etc")), tar(directory(b"l"), file(b"l/passwd", b"x"))]


@harmless({b"l": "dir", b"l/x": "file x"})
def a_file_where_a_directory_is_needed_gives_way():
    return [tar(file(b"l", b"data")), tar(file(b"l/x", b"x"))]


@harmless({b"d": "-> /etc", **INSIDE})
def a_link_in_place_of_a_directory_with_all_it_holds():
    return [tar(directory(b"d"), file(b"d/f", b"x")), BASE, tar(symlink(b"d", b"/etc"))]


@harmless({b"l": "-> /etc", b"etc": "dir"}, etc={"mode": 0o40700, "uid": 7})
def attributes_given_to_a_link_do_not_reach_its_target():
    return tar(
        directory(b"etc", mode=0o700, uid=7), symlink(b"l", b"/etc", mode=0o6777, uid=1000)
    )  # fmt: skip


@hostile("circle")
def a_link_to_itself_on_the_way():
    return tar(symlink(b"l", b"l"), file(b"l/x"))


@hostile("circle")
def links_that_lead_in_a_circle():
    return tar(symlink(b"a", b"/b/x"), symlink(b"b", b"a"), file(b"a/f"))


@hostile("circle")
def a_chain_of_41_links():
    links = [symlink(b"l%d" % at, b"l%d" % (at + 1)) for at in range(41)]
    return tar(directory(b"l41"), *links, file(b"l0/f"))


@hostile("circle")
def links_that_double_at_every_step():
    links = [symlink(b"l%d" % at, b"/l%d/../l%d" % (at - 1, at - 1)) for at in range(1, 40)]
    return tar(directory(b"l0"), *links, file(b"l39/f"))


@harmless({b"a": "-> b", b"b": "-> a", b"l": "-> l"})
def circles_that_nobody_walks_are_only_links():
    return tar(symlink(b"a", b"b"), symlink(b"b", b"a"), symlink(b"l", b"l"))


@hostile("impossible target")
def a_link_to_the_empty_name():
    return tar(symlink(b"l", b""))


@hostile("impossible target")
def a_link_target_of_4096_bytes():
    return tar(gnu_link(b"t" * 4096), symlink(b"l", b"short"))


@harmless({b"l": "-> " + "t" * 4095, b"m": "-> " + "t" * 60, b"n": "-> " + "t" * 59})
def link_targets_of_every_length_that_is_stored_differently():
    return tar(
        gnu_link(b"t" * 4095), symlink(b"l", b"s"), symlink(b"m", b"t" * 60),
        symlink(b"n", b"t" * 59),
    )  # fmt: skip


# --- hard links -----------------------------------------------------------------------------------


@hostile(OUTSIDE)
def a_hard_link_to_above_the_root():
    return tar(hardlink(b"h", b"../../../etc/shadow"))


@hostile("leads to nothing")
def a_hard_link_to_a_file_of_the_host():
    return tar(hardlink(b"h", b"/etc/shadow"))


@hostile("leads to nothing")
def a_hard_link_through_a_link_to_a_file_of_the_host():
    return tar(symlink(b"l", b"/etc"), hardlink(b"h", b"l/passwd"))


@hostile("leads to nothing")
def a_hard_link_to_what_comes_later():
    return tar(hardlink(b"h", b"f"), file(b"f"))


@hostile("leads to nothing")
def hard_links_to_each_other():
    return tar(hardlink(b"a", b"b"), hardlink(b"b", b"a"))


@hostile("leads to nothing")
def a_hard_link_to_itself():
    return tar(hardlink(b"h", b"h"))


@hostile("leads to nothing")
def a_hard_link_to_what_was_removed():
    return [BASE, tar(file(b"etc/.wh.passwd"), hardlink(b"h", b"etc/passwd"))]


@hostile("to a directory")
def a_hard_link_to_a_directory():
    return tar(directory(b"d"), hardlink(b"d/d", b"d"))


@harmless({b"l": "-> /etc/shadow", b"h": "-> /etc/shadow"}, l={"links": 2})
def a_hard_link_to_a_link_is_the_link():
    return tar(symlink(b"l", b"/etc/shadow"), hardlink(b"h", b"l"))


@harmless({b"l": "-> /etc/shadow", b"h": "file owned"})
def writing_to_a_hard_link_of_a_link_replaces_the_name():
    return tar(symlink(b"l", b"/etc/shadow"), hardlink(b"h", b"l"), file(b"h", b"owned"))


@harmless({**INSIDE, b"l": "-> /etc", b"h": "file root"}, h={"links": 2})
def a_hard_link_through_a_link_stays_inside():
    return [BASE, tar(symlink(b"l", b"/etc"), hardlink(b"h", b"l/passwd"))]


@harmless({**INSIDE, b"h": "file owned"})
def writing_to_a_hard_link_leaves_the_other_name_alone():
    return [BASE, tar(hardlink(b"h", b"etc/passwd")), tar(file(b"h", b"owned"))]


@harmless({b"c": "char 1:3", b"h": "char 1:3", b"p": "fifo", b"q": "fifo"})
def hard_links_to_devices_and_pipes():
    return tar(device(b"c", 1, 3), hardlink(b"h", b"c"), fifo(b"p"), hardlink(b"q", b"p"))


@hostile("hard links")
def a_file_of_65001_names():
    return tar(file(b"f", b"x"), *numbered(hardlink(b"h#######", b"f"), b"#######", 65_000))


@harmless({b"f": "file x", b"h": "file x", b"g": "file y"})
def a_hard_link_stores_nothing_whatever_size_it_announces():
    return tar(file(b"f", b"x"), header(b"h", b"1", size=4096, link=b"f"), file(b"g", b"y"))


# --- whiteouts ------------------------------------------------------------------------------------


@hostile(OUTSIDE)
def a_whiteout_above_the_root():
    return tar(file(b"../.wh.etc"))


@hostile("may not name")
def a_whiteout_of_nothing():
    return [BASE, tar(file(b"etc/.wh."))]


@hostile("may not name")
def a_whiteout_of_dot():
    return [BASE, tar(file(b"etc/.wh.."))]


@hostile("may not name")
def a_whiteout_of_dot_dot():
    return [BASE, tar(file(b"etc/.wh..."))]


@harmless({b"l": "-> /../../etc", b"etc": "dir"})
def a_whiteout_through_a_link_stays_inside():
    return [BASE, tar(symlink(b"l", b"/../../etc")), tar(file(b"l/.wh.passwd"))]


@harmless({**INSIDE})
def a_whiteout_of_a_link_removes_only_the_link():
    return [BASE, tar(symlink(b"l", b"/etc")), tar(file(b".wh.l"))]


@harmless({b"l": "-> /etc", b"etc": "dir", b"etc/new": "file n"})
def an_opaque_link_empties_the_directory_it_leads_to():
    return [BASE, tar(symlink(b"l", b"/etc")), tar(file(b"l/.wh..wh..opq"), file(b"l/new", b"n"))]


@harmless({**INSIDE})
def whiteouts_of_what_is_not_there():
    return [BASE, tar(file(b"etc/.wh.no"), file(b"no/.wh.thing"), file(b"no/.wh..wh..opq"))]


@harmless({b"etc": "dir"})
def a_whiteout_is_one_whatever_kind_it_has():
    return [
        tar(directory(b"etc"), *(file(b"etc/%d" % at) for at in range(6))),
        tar(
            directory(b"etc/.wh.0/"), symlink(b"etc/.wh.1", b"/etc"), fifo(b"etc/.wh.2"),
            device(b"etc/.wh.3", 0, 0), file(b"etc/.wh.4", b"content", mode=0o6755),
            hardlink(b"etc/.wh.5", b"/no/where"),
        ),
    ]  # fmt: skip


@harmless({**INSIDE})
def names_that_begin_like_bookkeeping_are_left_out():
    return tar(
        directory(b".wh..wh.plnk"), file(b".wh..wh.plnk/1.2", b"x"), file(b".wh..wh.aufs"),
        directory(b"etc"), file(b"etc/.wh..wh.orph", b"x"), file(b"etc/passwd", b"root"),
    )  # fmt: skip


@harmless({b"new": "file n"})
def an_opaque_root_hides_everything_below_but_what_comes_with_it():
    return [BASE, tar(file(b"new", b"n"), file(b".wh..wh..opq"))]


@harmless({b"etc": "dir", b"etc/passwd": "file mine"})
def a_whiteout_spares_what_its_own_layer_made_before_or_after():
    return [BASE, tar(file(b"etc/passwd", b"mine"), file(b"etc/.wh.passwd"), file(b".wh.etc"))]


@harmless({b"a": "dir", b"a/.wh": "file x", b"a/wh.f": "file y", b"a/..wh.f": "file z"})
def names_that_only_look_like_whiteouts():
    return tar(file(b"a/.wh", b"x"), file(b"a/wh.f", b"y"), file(b"a/..wh.f", b"z"))


@harmless({b"a": "dir", b"a/f": "char 0:0", b"a/g": "file x"}, a={"xattrs": {
    b"trusted.overlay.opaque": b"y"}})  # fmt: skip
def the_whiteouts_of_overlayfs_are_no_whiteouts_here():
    return [
        tar(file(b"a/f", b"hidden?"), file(b"a/g", b"x")),
        tar(xattrs(**{"trusted.overlay.opaque": b"y"}), directory(b"a"), device(b"a/f", 0, 0)),
    ]


@harmless({b"d": "dir"})
def a_hundred_thousand_whiteouts_of_nothing():
    blob = tar(directory(b"d"), *numbered(header(b"d/.wh.#######"), b"#######", 100_000))
    # Stored, so that their number is in proportion
    return Blob.of(blob, packed=blob)


@harmless({b"d": "dir"})
def directories_hidden_again_and_again_take_no_quadratic_time():
    lower = tar(directory(b"d"), *(directory(b"d/%d" % at) for at in range(20_000)))
    hiding = file(b"d/.wh..wh..opq") + file(b".wh.d")
    made = tar(directory(b"d"), *(directory(b"d/%d" % at) for at in range(20_000)), hiding * 20_000)
    gone = tar(file(b"d/.wh..wh..opq"))
    return [Blob.of(one, packed=one) for one in (lower, made, gone)]


# --- one name, several kinds ----------------------------------------------------------------------


@harmless({b"x": "file last"})
def one_name_many_times():
    return tar(file(b"x", b"first"), file(b"x", b"second" * 1000), file(b"x", b"last"))


@harmless({b"x": "char 5:1", b"y": "file y"})
def kinds_that_change_from_layer_to_layer():
    return [
        tar(directory(b"x"), file(b"x/deep/file", b"x"), symlink(b"y", b"x")),
        tar(file(b"x", b"file"), directory(b"y")),
        tar(symlink(b"x", b"y"), fifo(b"y")),
        tar(device(b"x", 5, 1), file(b"y", b"y")),
    ]


@harmless({b"d": "dir", b"d/f": "file x"}, d={"mode": 0o40700})
def a_directory_over_a_directory_keeps_what_is_in_it():
    return tar(directory(b"d"), file(b"d/f", b"x"), directory(b"d/", mode=0o700))


@hostile("not a directory")
def lost_and_found_as_a_file():
    return tar(file(b"lost+found", b"x"))


@hostile("not a directory")
def lost_and_found_as_a_link():
    return tar(symlink(b"lost+found", b"/etc"))


@harmless({b"lost+found": "dir", b"lost+found/#12": "file x"})
def lost_and_found_with_content():
    return tar(directory(b"lost+found", mode=0o700), file(b"lost+found/#12", b"x"))


@harmless({**INSIDE, b"l": "-> lost+found"})
def lost_and_found_removed():
    return [BASE, tar(file(b".wh.lost+found"), symlink(b"l", b"lost+found"))]


@harmless({b"f": "file x"}, **{"": {"mode": 0o41777, "uid": 1000, "gid": 2**32 - 2}})
def a_root_of_somebody_else():
    return tar(directory(b"./", mode=0o1777, uid=1000, gid=2**32 - 2), file(b"f", b"x"))


# --- owners, modes, times, devices ----------------------------------------------------------------


@harmless({b"su": "file x", b"d": "dir"}, su={"mode": 0o107755}, d={"mode": 0o47777})
def set_user_id_and_sticky_bits_are_the_images_own():
    return tar(file(b"su", b"x", mode=0o7755), directory(b"d", mode=0o7777))


@harmless({b"f": "file x"}, f={"mode": 0o107777})
def a_mode_that_claims_another_kind():
    return tar(file(b"f", b"x", mode=0o120000 | 0o7777))


@hostile("impossible owner")
def the_owner_that_means_leave_it():
    return tar(file(b"f", uid=2**32 - 1))


@hostile("impossible owner")
def an_owner_of_64_bits():
    return tar(pax(uid=b"4294967296"), file(b"f"))


@hostile("impossible owner")
def an_owner_below_zero():
    return tar(file(b"f", gid=-1))


@harmless({b"f": "file x"}, f={"uid": 2**32 - 2, "gid": 65536})
def owners_of_32_bits():
    return tar(file(b"f", b"x", uid=2**32 - 2, gid=65536))


@hostile("not a time")
def a_time_that_is_no_number():
    return tar(pax(mtime=b"nan"), file(b"f"))


@hostile("not a time")
def an_infinite_time():
    return tar(pax(mtime=b"-inf"), file(b"f"))


@harmless({b"a": "file ", b"b": "file ", b"c": "file ", b"d": "file "},
          c={"mtime_ns": -5 * 10**8}, d={"mtime_ns": 10_000_000_000 * 10**9 + 1})  # fmt: skip
def times_from_long_ago_to_the_far_future():
    return tar(
        pax(mtime=b"-999999999999999999"), file(b"a"), pax(mtime=b"999999999999999999.9"),
        file(b"b"), pax(mtime=b"-0.5"), file(b"c"), pax(mtime=b"10000000000.0000000019"),
        file(b"d"),
    )  # fmt: skip


@hostile("impossible number")
def a_device_number_beyond_the_kernels():
    return tar(device(b"c", 4096, 0))


@harmless({b"mem": "char 1:1", b"sda": "block 8:0", b"big": "char 4095:1048575"})
def devices_are_only_inodes():
    return tar(device(b"mem", 1, 1), device(b"sda", 8, 0, b"4"), device(b"big", 4095, 1048575))


# --- headers that lie -----------------------------------------------------------------------------


@hostile("kind that no image")
def an_unknown_type():
    return tar(header(b"f", b"Z"))


@hostile("kind that no image")
def a_volume_label():
    return tar(header(b"label", b"V"))


@hostile("kind that no image")
def a_part_of_another_volume():
    return tar(header(b"f", b"M", size=512) + padded(b"x"))


@hostile("kind that no image")
def a_dump_of_a_directory():
    return tar(header(b"d", b"D", size=8) + padded(b"Yf\0Nnew\0\0"))


@hostile("kind that no image")
def a_socket():
    return tar(header(b"s", b"s"))


@harmless({b"f": "file x", b"g": "file y"})
def a_contiguous_file_and_one_of_the_oldest_type():
    return tar(file(b"f", b"x", flag=b"7"), file(b"g", b"y", flag=b"\0"))


@harmless({b"d": "dir", b"l": "-> t"})
def slashes_behind_names_that_are_no_directories():
    return tar(file(b"d/", b"lost"), symlink(b"l/", b"t"))


@hostile("absurd size")
def a_size_below_zero():
    return tar(header(b"f", size=-512))


@hostile("absurd size")
def a_size_of_96_bits():
    return tar(header(b"f", size=b"\x80" + b"\xff" * 11))


@damaged("truncated")
def a_size_beyond_the_archive():
    return tar(header(b"f", size=10**12))


@hostile("octal")
def a_size_in_other_digits():
    return tar(header(b"f", size=b"0x10"))


@hostile("checksum")
def a_header_that_was_changed_afterwards():
    block = bytearray(file(b"good"))
    block[0:4] = b"evil"
    return tar(bytes(block))


@harmless({b"f": "file x", b"after": "file y"})
def the_size_of_pax_counts_and_not_the_headers():
    return tar(pax(size=b"1"), header(b"f", size=0) + padded(b"x"), file(b"after", b"y"))


@harmless({b"outer": "file ...", b"after": "file y"})
def a_header_inside_a_file_is_content():
    inner = tar(file(b"smuggled", b"x")) * 3
    return tar(pax(size=b"%d" % len(inner)), header(b"outer", size=0) + inner, file(b"after", b"y"))


@harmless({b"long": "file x", b"after": "file y"})
def the_size_of_pax_is_not_that_of_the_long_name_between():
    return tar(pax(size=b"1"), gnu_name(b"long"), header(b"f", size=0) + padded(b"x"),
               file(b"after", b"y"))  # fmt: skip


@harmless({b"pax": "file x"})
def a_name_of_pax_overrides_the_one_that_was_looked_at():
    return tar(pax(path=b"pax"), file(b"innocent", b"x"))


@hostile(OUTSIDE)
def a_name_of_pax_leads_outside_where_the_header_does_not():
    return tar(pax(path=b"../../etc/passwd"), file(b"innocent"))


@hostile(OUTSIDE)
def a_global_name_that_leads_outside():
    return tar(pax(b"g", path=b"../x"), file(b"innocent"))


@harmless({b"all": "file second"})
def a_global_name_for_all():
    return tar(pax(b"g", path=b"all"), file(b"a", b"first"), file(b"b", b"second"))


@hostile("global")
def global_headers_that_pile_up():
    return tar(*(pax(b"g", **{f"k{at}": b"x" * 60_000}) for at in range(40)), file(b"f"))


@hostile("extended header")
def an_extended_header_of_a_gigabyte():
    return tar(header(b"x", b"x", size=1 << 30))


@hostile("record")
def a_record_that_reaches_beyond_its_header():
    return tar(extension(b"x", b"99999 path=x\n"), file(b"f"))


@hostile("record")
def a_record_of_length_zero():
    return tar(extension(b"x", b"0 path=x\n"), file(b"f"))


@damaged("truncated")
def a_long_name_with_nothing_behind_it():
    return tar(file(b"f"), gnu_name(b"name"))


@damaged("truncated")
def an_extended_header_with_nothing_behind_it():
    return tar(file(b"f"), pax(path=b"name"))


@harmless({b"last": "file x"})
def long_names_in_a_row():
    return tar(gnu_name(b"first"), gnu_name(b"last"), file(b"f", b"x"))


@hostile("zero block")
def data_behind_a_single_zero_block():
    return file(b"f") + bytes(512) + tar(file(b"hidden"))


@harmless({b"f": "file x"})
def an_archive_behind_the_archive_is_not_read():
    return tar(file(b"f", b"x")) + tar(file(b"hidden", b"y"))


@damaged("end marker")
def an_archive_without_an_end():
    return file(b"f", b"x")


@damaged("end marker")
def an_empty_layer():
    return b""


@harmless({})
def an_archive_of_nothing():
    return END


# --- sparse files ---------------------------------------------------------------------------------


def sparse(name, parts, real, stored=b"", **more):
    numbers = b",".join(b"%d,%d" % part for part in parts)
    records = {"GNU.sparse.map": numbers, "GNU.sparse.size": b"%d" % real}
    return pax(**records, **more) + file(name, stored)


@hostile("absurd size")
def a_sparse_file_of_16_terabytes_and_more():
    return tar(sparse(b"f", [((1 << 44) - 1, 1)], 1 << 44, b"x"))


@harmless({b"f": "file ..."}, f={"size": (1 << 44) - 4096})
def a_sparse_file_of_almost_16_terabytes_takes_no_room():
    real = (1 << 44) - 4096
    return tar(sparse(b"f", [(real - 1, 1)], real, b"x"))


@hostile("sparse")
def sparse_parts_that_overlap():
    return tar(sparse(b"f", [(0, 10), (5, 10)], 100, b"x" * 20))


@hostile("sparse")
def sparse_parts_that_go_backwards():
    return tar(sparse(b"f", [(50, 10), (0, 10)], 100, b"x" * 20))


@hostile("sparse")
def a_sparse_part_beyond_the_file():
    return tar(sparse(b"f", [(95, 10)], 100, b"x" * 10))


@hostile("sparse")
def a_sparse_part_of_more_than_is_stored():
    return tar(sparse(b"f", [(0, 1000)], 1000, b"x"))


@hostile("too many parts")
def a_sparse_map_without_end():
    more = b"00000000001\0" * 42
    return header(b"f", b"S", o482=b"\1", o386=b"0" * 96) + (more + b"\1" + bytes(7)) * 7000 + END


@hostile("too many parts")
def a_sparse_map_that_announces_a_hundred_million_parts():
    records = {"GNU.sparse.major": b"1", "GNU.sparse.minor": b"0", "GNU.sparse.realsize": b"9"}
    return tar(pax(**records), file(b"f", b"100000000\n".ljust(1024, b"\0")))


@hostile(OUTSIDE)
def a_sparse_files_real_name_leads_outside():
    return tar(sparse(b"innocent", [(0, 1)], 1, b"x", **{"GNU.sparse.name": b"../../x"}))


# --- extended attributes --------------------------------------------------------------------------


@hostile("extended attributes")
def an_attribute_of_a_megabyte():
    return tar(xattrs(**{"user.big": b"x" * 1_000_000}), file(b"f"))


@hostile("extended header")
def attributes_of_more_than_a_megabyte():
    return tar(extension(b"x", record(b"SCHILY.xattr.user.big", b"x" * 1_100_000)), file(b"f"))


@hostile("extended attributes")
def ten_thousand_attributes():
    return tar(xattrs(**{f"user.{at}": b"" for at in range(10_000)}), file(b"f"))


@hostile("name is too long")
def an_attribute_with_a_name_of_300_bytes():
    return tar(xattrs(**{"user." + "n" * 295: b"x"}), file(b"f"))


@hostile("ACL")
def an_acl_of_three_bytes():
    return tar(xattrs(**{"system.posix_acl_access": b"\2\0\0"}), file(b"f"))


@hostile("ACL")
def an_acl_of_a_version_to_come():
    return tar(xattrs(**{"system.posix_acl_access": struct.pack("<IHHI", 3, 1, 7, 0)}), file(b"f"))


@harmless({b"f": "file x"}, f={"xattrs": {b"security.capability": b"\xff\0garbage"}})
def a_capability_that_no_kernel_understands():
    return tar(xattrs(**{"security.capability": b"\xff\0garbage"}), file(b"f", b"x"))


@harmless({b"f": "file x"}, f={"xattrs": {b"user.a\nb": b"\0"}})
def attributes_with_odd_names():
    odd = {"user.a\nb": b"\0", "user.": b"y", "": b"z", "no-namespace": b"w", "system.no": b"v"}
    return tar(xattrs(**odd), file(b"f", b"x"))


@harmless({b"f": "file x", b"d": "dir"}, f={"xattrs": {b"security.selinux": b"system_u:r\0"}})
def labels_are_carried_and_mean_nothing_here():
    return tar(xattrs(**{"security.selinux": b"system_u:r\0"}), file(b"f", b"x"), directory(b"d"))


# --- compression ----------------------------------------------------------------------------------


@harmless({b"f": "file x", b"g": "file y"})
def two_gzip_members_are_one_archive():
    first, second = file(b"f", b"x"), tar(file(b"g", b"y"))
    return Blob.of(first + second, gzip.compress(first) + gzip.compress(second))


@damaged("")
def garbage_behind_gzip():
    archive = tar(file(b"f", b"x"))
    return Blob.of(archive, gzip.compress(archive) + b"garbage")


@damaged("")
def half_of_a_gzip_stream():
    archive = tar(file(b"f", b"x" * 100_000))
    return Blob.of(archive, gzip.compress(archive)[:60])


@damaged("")
def a_gzip_stream_with_another_checksum():
    archive = tar(file(b"f", b"x"))
    packed = bytearray(gzip.compress(archive))
    packed[-8] ^= 1
    return Blob.of(archive, bytes(packed))


@harmless({b"f": "file x"})
def skippable_frames_of_zstd_are_skipped():
    archive = tar(file(b"f", b"x"))
    skipped = b"\x5a\x2a\x4d\x18" + struct.pack("<I", 5) + b"hello"
    return Blob.of(archive, skipped + zstd.compress(archive) + skipped)


@damaged("decompression failed")
def a_window_of_zstd_of_two_gigabytes():
    archive = tar(file(b"f", b"x" * 10_000))
    option = zstd.CompressionParameter
    packed = zstd.compress(
        archive + bytes(1 << 20),
        options={option.window_log: 31, option.content_size_flag: 0},
    )
    # The window descriptor of the frame header (RFC 8878, 3.1.1.1.2) says 2 GiB and more
    head = bytearray(packed)
    assert head[4] & 0x20 == 0
    head[5] = 31 - 10 << 3
    return Blob.of(archive, bytes(head))


@damaged("decompression failed")
def a_dictionary_of_xz_of_four_gigabytes():
    archive = tar(file(b"f", b"x"))
    packed = bytearray(lzma.compress(archive, check=lzma.CHECK_CRC32))
    # The block header's filter properties (.xz 1.1, 5.3.1), and its checksum again
    length = (packed[12] + 1) * 4
    at = packed.index(b"\x21\x01", 12)
    packed[at + 2] = 40
    body = bytes(packed[12 : 12 + length - 4])
    packed[12 + length - 4 : 12 + length] = struct.pack("<I", zlib.crc32(body))
    return Blob.of(archive, bytes(packed))


@harmless({b"inner.tar.gz": "file ..."})
def an_archive_in_an_archive_is_a_file():
    inner = gzip.compress(tar(file(b"../x", bytes(1 << 20))) + bytes(range(256)) * 64)
    return tar(file(b"inner.tar.gz", inner + inner * (1 + 4096 // len(inner))))


@damaged("promised")
def another_blob_than_was_promised():
    good, other = Blob.of(tar(file(b"f", b"x"))), Blob.of(tar(file(b"f", b"y")))
    return Blob(other.packed, good.digest, other.diff_id)


@damaged("promised")
def another_content_than_was_promised():
    good, other = Blob.of(tar(file(b"f", b"x"))), Blob.of(tar(file(b"f", b"y")))
    return Blob(other.packed, other.digest, good.diff_id)


@damaged("promised")
def bytes_behind_the_archive_that_were_not_promised():
    good = tar(file(b"f", b"x"))
    more = Blob.of(good + bytes(512))
    return Blob(more.packed, more.digest, Blob.of(good).diff_id)


def test_there_are_enough_of_them():
    assert len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
def test_hostile_archive(name, tmp_path):
    case = CASES[name]
    outcome = build(blobs_of(case.make()), tmp_path)
    assert outcome.rss < MEMORY
    if case.error:
        assert outcome.error == case.error, outcome
        assert case.words in f"{outcome.summary} {outcome.cause}"
        assert (outcome.summary + outcome.cause).isprintable()
        return
    assert not outcome.error, (outcome.summary, outcome.cause)
    assert outcome.used < 40 * MIB
    subprocess.run(["/usr/sbin/e2fsck", "-fn", outcome.image], check=True, capture_output=True)
    tree = read_tree(outcome.image)
    assert told(tree) == case.tree
    for path, wanted in (case.facts or {}).items():
        found = tree[path.encode()]
        assert {key: getattr(found, key) for key in wanted} == wanted


# --- more than memory, disk and time should have to bear ------------------------------------------


@pytest.mark.timeout(300)
def test_a_million_tiny_entries_end_early_and_in_little_memory(tmp_path):
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    entries = numbered(header(b"f#######"), b"#######", 1_000_000)
    packed = b"".join(map(packer.compress, entries)) + packer.compress(END) + packer.flush()

    outcome = build([Blob(packed, sha256(packed), "")], tmp_path, size=None)

    assert outcome.error == "HostileInput"
    assert outcome.summary == "a layer of the image has absurdly many entries for its size"
    assert outcome.rss < MEMORY


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress, lzma.compress])
def test_bombs_of_ten_gibibytes_are_refused_before_they_fill_the_disk(pack, tmp_path):
    size, part = 10 << 30, 16 * MIB
    # Members or frames in a row are one stream
    packed = pack(header(b"zeros", size=size)) + pack(bytes(part)) * (size // part) + pack(END)

    outcome = build([Blob(packed, sha256(packed), "")], tmp_path)

    assert outcome.error == "HostileInput"
    assert outcome.summary == "the layer expands to an absurd size"
    assert outcome.rss < MEMORY


def test_what_is_in_proportion_is_no_bomb(tmp_path):
    archive = tar(file(b"zeros", bytes(40 * MIB)))
    outcome = build([Blob.of(archive)], tmp_path)
    assert not outcome.error
    assert read_tree(outcome.image)[b"zeros"].size == 40 * MIB


def test_directories_ten_thousand_deep_through_links_stay_sound(tmp_path):
    """No path is long, yet the tree is deep: whoever walks it must not do so by recursion."""
    parts = [symlink(b"l0", b".")]
    for step in range(20):
        below = b"l%d" % step + b"/d" * 500
        parts += [pax(path=below), directory(b"d"), gnu_link(below)]
        parts += [symlink(b"l%d" % (step + 1), b"short")]
    outcome = build([Blob.of(tar(*parts))], tmp_path)
    assert not outcome.error, (outcome.summary, outcome.cause)
    assert outcome.facts["inodes"] > 10_000
    with Ext4(outcome.image) as reader:
        here, depth = 2, 0
        while found := dict(reader.names(reader.inode(here))).get(b"d"):
            here, depth = found, depth + 1
    assert depth == 10_000
