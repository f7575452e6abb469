"""``ssh``, ``vm ssh`` and ``vm exec``: a program in the guest as if it ran here."""

from __future__ import annotations

import signal

import pytest


@pytest.mark.parametrize("words", [("ssh", "web"), ("vm", "ssh", "web")])
def test_ssh_becomes_ssh_without_the_daemon(cli, ssh, noted, words):
    done = cli(*words, "--", "echo", "$((1 + 1))")
    assert (done.returncode, done.stdout) == (0, "$((1 + 1))\n")
    assert ssh.calls[0]["args"] == ["-F", "none", "host", "echo", "$((1 + 1))"]
    assert not list(noted.parents[2].glob("daemon*"))


def test_ssh_options_reach_ssh(cli, ssh, noted):
    cli("ssh", "web", "-L", "8080:localhost:80", "true")
    assert ssh.calls[0]["remote"][:2] == ["-L", "8080:localhost:80"]


def test_ssh_without_note_asks_the_daemon(cli, ssh, daemon, note):
    daemon.answers["GET /v1/vms/0123/ssh"] = lambda _: note
    assert cli("ssh", "0123", "echo", "hi").stdout == "hi\n"


def test_exec_keeps_arguments_input_output_and_status(cli, ssh, noted):
    words = ["a b", "it's", '$x "q" \\', "", "*", "-n", "é\n"]
    done = cli("vm", "exec", "web", "--", "printf", "[%s]", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "".join(f"[{word}]" for word in words)
    assert cli("vm", "exec", "web", "--", "cat", stdin=b"hi\0there").stdout == "hi\0there"
    done = cli("vm", "exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_exec_asks_for_a_terminal_only_when_told(cli, ssh, noted):
    cli("vm", "exec", "web", "--", "true")
    cli("vm", "exec", "-t", "web", "--", "true")
    assert "-T" in ssh.calls[0]["args"]
    assert "-tt" in ssh.calls[1]["args"]


def test_a_guests_own_255_is_its_own(cli, ssh, noted):
    done = cli("vm", "exec", "web", "--", "sh", "-c", "exit 255")
    assert (done.returncode, done.stderr) == (255, "")


def test_a_lost_connection_is_told_apart(cli, ssh, noted):
    ssh.behave("refuse")
    done = cli("vm", "exec", "web", "--", "true")
    assert done.returncode == 255
    assert done.stderr.splitlines()[:2] == [
        "error: the connection to web was lost",
        "cause: ssh: connect to host host port 1: Connection refused",
    ]


def test_without_ssh_there_is_one_clear_error(cli, noted, tmp_path):
    done = cli("vm", "exec", "web", "--", "true", PATH=str(tmp_path))
    assert done.returncode == 4
    assert done.stderr.startswith("error: cannot run ssh\ncause: No such file")
    assert cli("ssh", "web", PATH=str(tmp_path)).returncode == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_signals_go_to_the_program_in_the_guest(cli, ssh, noted, number):
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
    process = cli.start("vm", "exec", "web", "--", "sh", "-c", script)
    assert process.stdout.readline() == b"ready\n"
    ssh.wait_for_program()
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (9, f"got {name}\n".encode())
    assert ssh.calls[0]["ignored"] == ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"]
    assert ssh.calls[-1]["remote"][0].startswith("banger-signal ")


def test_a_signal_before_the_program_began_is_delivered_later(cli, ssh, noted, until):
    ssh.behave("slow")
    process = cli.start("vm", "exec", "web", "--", "sleep", "30")
    until(lambda: ssh.calls)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert sum(call["remote"][0].startswith("banger-signal") for call in ssh.calls) > 1


def test_a_second_ctrl_c_gives_up(cli, ssh, noted, until):
    end = ssh.place / "end"
    script = f"trap '' INT; echo ready; until [ -e {end} ]; do sleep 0.05; done"
    process = cli.start("vm", "exec", "web", "--", "sh", "-c", script)
    assert process.stdout.readline() == b"ready\n"
    ssh.wait_for_program()
    # Two that come too far apart are none
    while process.poll() is None:
        calls = len(ssh.calls)
        process.send_signal(signal.SIGINT)
        until(lambda seen=calls: len(ssh.calls) > seen or process.poll() is not None)
    end.touch()
    process.communicate(timeout=60)
    assert process.returncode == 130


@pytest.mark.parametrize("name", ["../web", "Web", "-web", "a" * 64, ""])
def test_a_note_is_read_only_for_a_name(here, daemon, noted, name):
    status, _, err = here("ssh", name)
    assert status == 2
    assert err.startswith("error: ")


def test_a_note_that_others_can_write_is_not_trusted(here, daemon, noted):
    noted.chmod(0o666)
    status, _, err = here("ssh", "web")
    assert status == 2
    assert "no route named" in err


def remotes(ssh):
    return [call["remote"] for call in ssh.calls]


@pytest.mark.parametrize("option", [("-u", "app:29"), ("--user", "app:29"), ("--user=app:29",)])
def test_exec_as_another_user(cli, ssh, noted, option):
    done = cli("vm", "exec", *option, "web", "--", "echo", "a b")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a b\n", "")
    (remote,) = remotes(ssh)[0]
    assert remote.startswith("banger-as app:29 banger-exec ")


@pytest.mark.parametrize("verb", [("ssh",), ("vm", "ssh")])
@pytest.mark.parametrize(
    ("words", "remote"),
    [
        ((), ["banger-as app"]),
        (("--",), ["banger-as app"]),
        (("-L", "1:h:2", "-NT"), ["-L", "1:h:2", "-NT", "banger-as app"]),
        (("-vL1:h:2", "-oA=b"), ["-vL1:h:2", "-oA=b", "banger-as app"]),
        (("-o", "A=b", "echo", "-n", "$x"), ["-o", "A=b", "banger-as app echo -n $x"]),
        (("-t", "--", "echo", "-n"), ["-t", "banger-as app echo -n"]),
        (("--", "echo", "hi"), ["banger-as app echo hi"]),
    ],
)
def test_ssh_as_another_user(cli, ssh, noted, verb, words, remote):
    """ssh's own options stay ssh's; what is for the machine is for that user."""
    cli(*verb, "-u", "app", "web", *words)
    assert remotes(ssh) == [remote]


def test_ssh_as_another_user_without_note_asks_the_daemon(cli, ssh, daemon, note):
    daemon.answers["GET /v1/vms/0123/ssh"] = lambda _: note
    assert cli("ssh", "-u", "root", "0123", "echo", "hi").stdout == "hi\n"


@pytest.mark.parametrize("user", ["a b", "$(id)", "a;b", "a'", "é", "x" * 65, "a\nb"])
@pytest.mark.parametrize("verb", [("ssh",), ("vm", "exec")])
def test_what_can_be_no_user_is_refused(cli, ssh, noted, verb, user):
    done = cli(*verb, f"--user={user}", "web", "true")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --user ")
    assert not ssh.calls


def test_exec_of_the_images_own_program(cli, ssh, noted):
    done = cli("vm", "exec", "--entrypoint", "web")
    assert (done.returncode, done.stdout) == (7, "own as :\n")
    done = cli("vm", "exec", "-u", "app", "--entrypoint", "web", "--", "a b", "c")
    assert (done.returncode, done.stdout) == (7, "own as app: a b c\n")
    first, second = (remote for (remote,) in remotes(ssh))
    assert first.split(" ")[0] == "banger-image"
    assert len(first.split(" ")) == 2
    assert second.startswith("banger-as app banger-image ")
    assert second.endswith(" 'a b' c")


def test_the_longest_command_for_the_longest_user_is_taken(cli, ssh, noted):
    """Together they are what the guest's SSH server takes."""
    from banger_core.client.session import COMMAND_MAX

    cli("vm", "exec", "-u", "u" * 64, "--entrypoint", "web", "--", "x" * COMMAND_MAX)
    (remote,) = remotes(ssh)[0]
    assert len(remote) <= 9000
