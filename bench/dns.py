"""The responder beside dnsmasq: the same names and questions, from dnsperf, in turns.

    python bench/dns.py [--rate N] [--seconds S]

First both get ``rate`` questions a second (5,000), and none may be lost; then as many as they can
take. Half of the questions are for names that are there. Shown are questions a second, how many
were lost, and the mean latency, with the ratio to dnsmasq. Needs dnsperf and dnsmasq.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# What lies beside this file has names of modules that are meant below (dns, copy)
sys.path.remove(str(Path(__file__).resolve().parent))

from banger_core.testing.context import FakeContext
from banger_dns.book import Book, Name
from banger_dns.ports import obstacle
from banger_dns.service import DnsService

NAMES = 200
ADDRESS = "127.0.0.1"
ROUNDS = 3


def free_port(first: int) -> int:
    """A port from ``first`` on that nobody has."""
    return next(port for port in range(first, 65535) if obstacle(ADDRESS, port) is None)


def names() -> list[tuple[str, str]]:
    """Names and addresses."""
    return [
        (f"vm-{number}", f"127.64.{number // 200}.{number % 200 + 1}") for number in range(NAMES)
    ]


@contextlib.contextmanager
def responder(place: Path) -> Iterator[int]:
    """Run ours; give its port."""
    port = free_port(21000)
    cx = FakeContext(place / "ours", {"port": port})
    service = DnsService()

    async def start() -> None:
        for name, address in names():
            await Book(cx.state_dir).enter(Name(name=name, vm_id=name, addresses=(address,)))
        await service.tend(cx)
        assert (await service.answer("status", {}, cx))["responder"]["pid"]

    try:
        asyncio.run(start())
        yield port
    finally:
        cx.close()


@contextlib.contextmanager
def dnsmasq(place: Path) -> Iterator[int]:
    """Run the peer; give its port."""
    port = free_port(22000)
    lines = ["no-resolv", "no-hosts", "bind-interfaces", f"listen-address={ADDRESS}", "local=/vm/"]
    lines += [f"host-record={name}.vm,{address}" for name, address in names()]
    (place / "dnsmasq.conf").write_text("\n".join([*lines, f"port={port}", "user=root", ""]))
    argv = ["dnsmasq", "--keep-in-foreground", f"--conf-file={place}/dnsmasq.conf"]
    with subprocess.Popen(argv) as process:
        try:
            while obstacle(ADDRESS, port) is None:
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()


def measure(port: int, questions: Path, *more: str) -> dict[str, float]:
    """What dnsperf says."""
    argv = ["dnsperf", "-s", ADDRESS, "-p", str(port), "-d", str(questions), "-c", "4", *more]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    wanted = {
        "lost": r"Queries lost:\s+(\d+)",
        "rate": r"Queries per second:\s+([\d.]+)",
        "latency": r"Average Latency \(s\):\s+([\d.]+)",
    }
    return {key: float(re.search(pattern, said)[1]) for key, pattern in wanted.items()}  # type: ignore[index]


def main() -> int:
    """Measure; return 1 when ours lost a question at the given rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    lost = 0.0
    with tempfile.TemporaryDirectory(prefix="bd-") as home:
        place = Path(home)
        questions = place / "questions"
        lines = [f"{name}.vm A\nno-{name}.vm A\n" for name, _ in names()]
        questions.write_text("".join(lines))
        with responder(place) as ours, dnsmasq(place) as peer:
            for label, more in (
                (f"{options.rate} a second", ("-Q", str(options.rate), "-q", "1000")),
                ("as many as it can", ("-q", "100")),
            ):
                best: dict[str, dict[str, float]] = {}
                for _ in range(ROUNDS):
                    for who, port in (("banger", ours), ("dnsmasq", peer)):
                        found = measure(port, questions, "-l", str(options.seconds), *more)
                        if who == "banger" and more[0] == "-Q":
                            lost += found["lost"]
                        if who not in best or found["rate"] > best[who]["rate"]:
                            best[who] = found
                print(f"\n{label}, best of {ROUNDS}")
                for who, found in best.items():
                    print(
                        f"  {who:8} {found['rate']:8.0f} a second, {found['lost']:.0f} lost, "
                        f"{found['latency'] * 1e6:.0f} us"
                    )
                print(f"  ratio    {best['banger']['rate'] / best['dnsmasq']['rate']:8.2f}")
    print(f"\nlost at {options.rate} a second in all rounds: {lost:.0f}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
