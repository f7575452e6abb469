"""Who may talk to the daemon, asked of the kernel."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
import uvicorn

from banger_core.daemon.listen import bind, unbind
from banger_core.daemon.peer import PeerCheckedProtocol

ASK = """
import socket, sys
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
try:
    peer.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
    answer = peer.recv(1000)
except OSError:
    answer = b""
sys.exit(0 if answer.startswith(b"HTTP/1.1 200") else 9)
"""


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def ask(path: Path, **as_whom: int) -> int:
    server = uvicorn.Server(
        uvicorn.Config(app, http=PeerCheckedProtocol, ws="none", lifespan="off", log_config=None)
    )
    listener = bind(path)
    # As if the directory and the mode had not kept others out already
    path.parent.chmod(0o755)
    path.chmod(0o666)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        child = await asyncio.to_thread(
            subprocess.run,
            ["/usr/bin/python3", "-c", ASK, str(path)],
            check=False,
            **as_whom,
        )
        return child.returncode
    finally:
        server.should_exit = True
        await serving
        unbind(path, listener)


@pytest.fixture
def path():
    with tempfile.TemporaryDirectory(prefix="bp-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory) / "run" / "s"


def test_the_same_user_is_answered(path):
    assert asyncio.run(ask(path)) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_another_user_is_hung_up_on(path):
    assert asyncio.run(ask(path, user=65534, group=65534)) == 9
