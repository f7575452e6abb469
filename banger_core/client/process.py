"""Starting programs, with no more than ``os`` and ``signal``: ``subprocess`` doubles the start-up
of ``vm exec``, and cannot hand an ignored signal to a child.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False  # ``typing`` costs more than this module
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import NoReturn


def spawn(
    argv: Sequence[str],
    *,
    files: tuple[int, int, int] | None = None,
    ignored: Iterable[int] = (),
    session: bool = False,
    passed: Iterable[int] | None = None,
) -> int:
    """Start ``argv`` and return its pid once the program really runs.

    ``files`` become its stdin, stdout and stderr (None: ours); the signals ``ignored`` are
    ignored, none is blocked; ``session`` gives it a session of its own. Of our other descriptors it
    gets those ``passed`` (None: all that are inheritable), which matters when it outlives us: it
    would hold the locks and pipes of whoever called us. Raises HostNotReady when it cannot be
    executed.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(argv, files, ignored, session, passed, writer)
    os.close(writer)
    problem = os.read(reader, 16)
    os.close(reader)
    if problem:
        os.waitpid(pid, 0)
        raise _not_executable(argv[0], int(problem))
    return pid


def become(argv: Sequence[str]) -> NoReturn:
    """Replace this process by ``argv``. Raises HostNotReady when it cannot be executed."""
    _like_a_shell()
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606  (argv lists only)
    except OSError as problem:
        raise _not_executable(argv[0], problem.errno or 0) from problem


def check_program(name: str) -> None:
    """Raise HostNotReady when there is no program ``name`` on PATH."""
    if not any(
        os.access(os.path.join(place, name), os.X_OK)  # noqa: PTH118  (see above: only os)
        for place in os.get_exec_path()
    ):
        import errno

        raise _not_executable(name, errno.ENOENT)


def _child(
    argv: Sequence[str],
    files: tuple[int, int, int] | None,
    ignored: Iterable[int],
    session: bool,
    passed: Iterable[int] | None,
    writer: int,
) -> None:
    try:
        if session:
            os.setsid()
        for standard, file in enumerate(files or ()):
            os.dup2(file, standard)
        if passed is not None:
            _keep({0, 1, 2, *passed})
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        _like_a_shell()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execvp(argv[0], list(argv))  # noqa: S606  (argv lists only)
    except OSError as problem:
        os.write(writer, str(problem.errno).encode())
    finally:
        os._exit(127)


def _keep(descriptors: set[int]) -> None:
    """Let all others be closed when this process becomes another program."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  (see above: only os)
        if int(name) not in descriptors:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                continue  # that of the directory itself, closed by now


def _like_a_shell() -> None:
    # Python ignores these two; programs expect them as they come from a shell
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)


def _not_executable(program: str, number: int) -> Exception:
    from banger_core.errors import HostNotReady
    from banger_core.packages import install_command

    hints = [install_command(program)] if program == "ssh" else []
    return HostNotReady(f"cannot run {program}", cause=os.strerror(number), hints=hints)
