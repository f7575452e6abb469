"""What a guest reports about itself, true or not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger_core.guest.reports import FileSystem, GuestReport, read_listeners, read_report

STATS = """\
time 1700000000.250000
uptime 12.34
init image /usr/lib/systemd/systemd
load 0.50 0.25 0.10 2/80 345
memory MemTotal: 1000
memory MemAvailable: 600
memory SwapTotal: 0
mount / rw 4096 1000 500 400 100 50
mount /root ro 1024 2000 0 0 100 50
cpu  100 50 25 800 25 5 5 10 40 4
net     lo: 999 9 0 0 0 0 0 0 999 9 0 0 0 0 0 0
net   eth0: 1000 10 0 0 0 0 0 0 2000 20 0 0 0 0 0 0
net   eth1:1 10 0 0 0 0 0 0 2 20 0 0 0 0 0 0
disk vda 10 0 100 5 20 0 200 9 0 7 14
disk sda 10 0 999 5 20 0 999 9 0 7 14
"""


def test_everything_is_read():
    assert read_report(STATS) == GuestReport(
        clock=1700000000.25,
        uptime=12.34,
        init="image",
        load=(0.5, 0.25, 0.1),
        memory=1000 << 10,
        memory_available=600 << 10,
        cpu_busy=1.95,
        cpu_total=10.2,
        disk_read=100 * 512,
        disk_written=200 * 512,
        received=1001,
        sent=2002,
        filesystems=(
            FileSystem(place="/", size=4096000, available=1638400, writable=True),
            FileSystem(place="/root", size=2048000, available=0, writable=False),
        ),
    )


@pytest.mark.parametrize(
    "lie",
    [
        "memory MemTotal: 99999999999999999999999",
        "memory MemTotal: -5",
        "memory",
        "load a b c",
        "load 1",
        "time nan",
        "time 1e400",
        "init ../../etc image",
        "cpu 1 2",
        "net eth0",
        "disk vda",
        "mount /",
        "disk vda 1 1 ١٢ 1 1 1 1 1",
        "x" * 100_000,
    ],
)
def test_lies_and_nonsense_are_nothing(lie):
    report = read_report(lie)
    assert report.filesystems == ()
    assert (report.memory, report.disk_read, report.received, report.clock) == (0, 0, 0, 0)
    assert report.init == ""


PORTS = """\
socket tcp 00000000:0050 8
socket tcp6 00000000000000000000000001000000:0051 9
socket udp 0100007F:0035 10
socket udp 0100007F:0035 11
socket tcp 00000000:0050 8
socket tcp 0000:0050 8
socket tcp 00000000:00G0 8
socket raw 00000000:0001 8
owner 8 12 nginx
owner 9 13 tmux: server
owner 10 x \x1b[31mevil
"""


def test_listeners_are_read_once_each():
    rows = [
        (row.protocol, row.address, row.port, row.process, row.pid) for row in read_listeners(PORTS)
    ]
    assert rows == [
        ("tcp", "0.0.0.0", 80, "nginx", 12),
        ("tcp", "::1", 81, "tmux:", 13),
        ("udp", "127.0.0.1", 53, "", None),
        ("udp", "127.0.0.1", 53, "?[31mevil", 0),
    ]


def test_a_guest_with_a_hundred_thousand_sockets_is_cut_short():
    text = "".join(f"socket tcp 00000000:{port:04X} {port}\n" for port in range(65536))
    assert len(read_listeners(text)) <= 512


@given(st.text(max_size=2000))
def test_anything_can_be_read(text):
    read_report(text)
    read_listeners(text)


@given(
    st.lists(
        st.sampled_from(
            [
                "cpu",
                "net",
                "disk",
                "mount",
                "memory",
                "socket",
                "owner",
                "load",
                "tcp",
                "0",
                "9" * 25,
                "-1",
                "eth0:",
                "vda",
                "00000000:0050",
                "nan",
            ]
        ),
        max_size=40,
    )
)
def test_any_words_in_any_order_can_be_read(words):
    text = " ".join(words).replace(" socket", "\nsocket").replace(" cpu", "\ncpu")
    read_report(text)
    for row in read_listeners(text):
        assert 0 <= row.port <= 65535
