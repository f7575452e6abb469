"""``banger plugin``: what there is, what is wrong with it, and switching it on and off."""

from __future__ import annotations

import json
import os

import pytest

from banger_core.cli.plugin_change import distribution_of
from banger_core.config.paths import Paths, secure_dir
from banger_core.testing.install import install_plugin

GOOD = """
from banger_core.api import EventSink, VmmDriver, hookimpl
BANGER_API = 1
@hookimpl
def banger_vmm_drivers():
    yield VmmDriver(name="toy", summary="A toy", load="toy:Driver", requires=("bin:no-such-thing",))
@hookimpl
def banger_event_sinks():
    yield EventSink(name="{name}-log", summary="Says what happens", load="toy:Log")
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A place where plugins are installed, seen by commands in processes of their own."""
    place = tmp_path / "site"
    place.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(place))
    return place


@pytest.fixture
def toy(site):
    install_plugin(site, "toy", source=GOOD.replace("{name}", "toy"), distribution="acme-toys")
    return site


def rows(cli):
    done = cli("plugin", "list", "--json")
    assert done.returncode == 0, done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)}


def config():
    return Paths.from_environment().settings_file


def write_config(text):
    secure_dir(config().parent)
    config().write_text(text)
    config().chmod(0o600)


# --- what there is ----------------------------------------------------------------------------


def test_a_plugin_is_listed_with_what_it_declares(cli, home, toy):
    row = rows(cli)["toy"]
    assert (row["status"], row["distribution"], row["version"]) == ("ok", "acme-toys", "1.0")
    assert [item["name"] for item in row["declarations"]["banger_vmm_drivers"]] == ["toy"]
    table = cli("plugin", "list").stdout
    assert "VM driver toy" in table
    assert "event sink toy-log" in table
    # No daemon was needed
    assert not Paths.from_environment().daemon_log.exists()


@pytest.mark.parametrize(
    ("source", "status", "error"),
    [
        ("raise ImportError('no luck')", "broken", "ImportError: no luck"),
        ("BANGER_API = 99", "incompatible", "plugin API 99"),
        ("", "broken", "BANGER_API = 1"),
    ],
)
def test_what_cannot_be_used_says_why(cli, home, site, source, status, error):
    install_plugin(site, "bad", source=source)
    row = rows(cli)["bad"]
    assert (row["status"], error in row["error"]) == (status, True)
    doctor = cli("plugin", "doctor")
    assert doctor.returncode == 5
    assert f"FAIL  plugin bad: bad 1.0 is {status}" in doctor.stdout
    assert error in doctor.stdout
    shown = cli("plugin", "show", "bad").stdout
    assert error in shown
    assert ("Traceback" in shown) == ("raise" in source)


def test_show_takes_plugins_and_distributions(cli, home, toy):
    for name in ("toy", "acme-toys", "acme_toys"):
        shown = cli("plugin", "show", name).stdout
        assert "distribution  acme-toys 1.0\n" in shown
        assert "requires: bin:no-such-thing" in shown
    (record,) = json.loads(cli("plugin", "show", "toy", "--json").stdout)
    assert record["declarations"]["banger_event_sinks"][0]["load"] == "toy:Log"
    done = cli("plugin", "show", "tay")
    assert done.returncode == 2
    assert "did you mean toy?" in done.stderr


def test_doctor_says_what_the_host_lacks_and_who_clashes(cli, home, toy):
    found = cli("plugin", "doctor", "--json")
    assert found.returncode == 5
    assert "no-such-thing is missing" in {each["message"] for each in json.loads(found.stdout)}
    install_plugin(toy, "other", source=GOOD.replace("{name}", "other"))
    said = cli("plugin", "doctor").stdout
    assert "VM driver 'toy' is declared by 2 plugins" in said
    assert "toy (acme-toys 1.0)" in said
    assert "other (other 1.0)" in said


def test_doctor_tries_what_is_declared(cli, home, site):
    source = GOOD.replace("{name}", "near").replace("toy:Driver", "toys:Drivr")
    install_plugin(site, "near", source=source.replace("toy:Log", "toys:Log"))
    (site / "toys.py").write_text(
        "print('here')\nclass Driver: pass\nclass Log:\n    handle = print"
    )
    found = {each["subject"]: each for each in json.loads(cli("plugin", "doctor", "--json").stdout)}
    driver = found["VM driver toy"]
    assert (driver["level"], driver["message"]) == ("fail", "near (near 1.0) cannot be used")
    assert driver["why"] == "load names toys:Drivr, and toys has no Drivr: did you mean Driver?"
    assert "event sink near-log" not in found
    (site / "toys.py").write_text("import os\nos._exit(7)")
    found = {each["subject"]: each for each in json.loads(cli("plugin", "doctor", "--json").stdout)}
    assert found["plugins"]["why"] == "Python ended with status 7"


def test_a_command_that_is_missing_may_be_a_broken_plugins(cli, home, site):
    assert "plugin doctor" not in cli("fleet").stderr
    install_plugin(site, "fleet", source="BANGER_API = 1\nraise OSError('no luck')")
    done = cli("fleet")
    assert done.returncode == 2
    assert "try:   banger plugin doctor   (fleet cannot be used)" in done.stderr
    assert (
        "OSError: no luck (fleet_fleet_plugin.py, line 2)" in cli("plugin", "show", "fleet").stdout
    )


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("banger-oci", "banger-oci"),
        ("Banger_OCI[x] >= 0.1", "banger-oci"),
        ("dist/banger_oci-0.1-py3-none-any.whl", "banger-oci"),
        ("git+https://example.org/x", ""),
        ("https://example.org/x-1.tar.gz", ""),
        ("{here}", "acme.plugin"),
        ("{here}/empty", ""),
        ("{here}/nowhere", ""),
    ],
)
def test_what_a_package_is_called(tmp_path, package, name):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'acme.plugin'\n")
    (tmp_path / "empty").mkdir()
    assert distribution_of(package.format(here=tmp_path)) == name.replace(".", "-")


def test_doctor_is_content(cli, home):
    done = cli("plugin", "doctor", BANGER_PLUGINS="")
    assert (done.returncode, done.stdout[:4]) == (0, "PASS"), done.stdout
    done = cli("plugin", "doctor", BANGER_PLUGINS="nonsense")
    assert "WARN  BANGER_PLUGINS: there is no plugin nonsense" in done.stdout


def test_a_daemon_with_other_plugins_is_told_of(cli, daemon, toy):
    daemon.answers["GET /v1/plugins"] = lambda _: {"plugins": []}
    done = cli("plugin", "list")
    assert "the daemon runs with other plugins" in done.stderr
    everything = json.loads(cli("plugin", "list", "--json").stdout)
    daemon.answers["GET /v1/plugins"] = lambda _: {"plugins": everything}
    assert cli("plugin", "list").stderr == ""


# --- which are used ---------------------------------------------------------------------------


def test_the_environment_and_the_option_choose(cli, home, toy):
    done = cli("plugin", "list", "--json", BANGER_PLUGINS="toy")
    status = {row["name"]: row["status"] for row in json.loads(done.stdout)}
    assert status.pop("toy") == status.pop("user-network") == "ok"
    assert set(status.values()) <= {"disabled"}
    done = cli("--no-plugins", "plugin", "list", "--json")
    status = {row["name"]: row["status"] for row in json.loads(done.stdout)}
    assert status.pop("user-network") == "ok"
    assert set(status.values()) == {"disabled"}


def test_disable_and_enable_keep_the_rest_of_the_file(cli, home, toy):
    write_config('# mine\n[plugins]  # which\ndisabled = [\n  "old", # why\n]\n[vm]\nvcpu = 1\n')
    before = config().read_text()
    assert cli("plugin", "disable", "toy").stderr == "toy (acme-toys 1.0) is disabled\n"
    assert rows(cli)["toy"]["status"] == "disabled"
    assert "was disabled already" in cli("plugin", "disable", "toy").stderr
    assert config().read_text() == before.replace("# why\n", '# why\n  "toy",\n')
    assert cli("plugin", "enable", "toy").stderr == "toy (acme-toys 1.0): ok\n"
    assert config().read_text() == before
    assert (config().stat().st_mode & 0o777) == 0o600


def test_enable_one_of_a_disabled_distribution(cli, home, site):
    place = install_plugin(site, "red", source="BANGER_API = 1", distribution="colours")
    (place / "entry_points.txt").write_text(
        "[banger]\nred = colours_red_plugin\npink = colours_pink_plugin\n"
    )
    (site / "colours_pink_plugin.py").write_text("BANGER_API = 1")
    assert cli("plugin", "disable", "colours").returncode == 0
    assert {rows(cli)[name]["status"] for name in ("red", "pink")} == {"disabled"}
    write_config('[plugins]\ndisabled = ["Colours"]\n')
    assert cli("plugin", "enable", "pink").returncode == 0
    assert config().read_text() == '[plugins]\ndisabled = ["red"]\n'
    assert cli("plugin", "enable", "colours").returncode == 0
    assert {rows(cli)[name]["status"] for name in ("red", "pink")} == {"ok"}


def test_enable_says_what_else_stands_in_the_way(cli, home, toy):
    done = cli("plugin", "enable", "toy", BANGER_DISABLE="toy")
    assert "toy (acme-toys 1.0): disabled, disabled by BANGER_DISABLE" in done.stderr


def test_a_plugin_that_runs_machines_is_not_switched_off(cli, daemon, toy):
    Paths.from_environment().database.touch()
    vm = {"name": "web", "driver": "toy", "network": "user"}
    daemon.answers["GET /v1/vms"] = lambda _: {"vms": [vm]}
    for verb in ("disable", "uninstall"):
        done = cli("plugin", verb, "toy")
        assert done.returncode == 1
        assert "is used by 1 machine" in done.stderr
        assert "web" in done.stderr
    assert not config().exists()
    assert cli("plugin", "disable", "--force", "toy").returncode == 0
    assert "the daemon goes on with the plugins it has" in cli("plugin", "enable", "toy").stderr


def test_the_core_s_own_plugins_do_not_go_alone(cli, home):
    done = cli("plugin", "uninstall", "user-network")
    assert done.returncode == 2
    assert "part of banger itself" in done.stderr


@pytest.mark.parametrize("package", ["", "  "])
def test_what_is_no_package_is_refused(cli, home, package):
    assert cli("plugin", "install", package).returncode == 2
    assert "options of pip" in cli("plugin", "install", "--", "--index-url=http://x").stderr


# --- the trace --------------------------------------------------------------------------------


def test_trace_names_hook_plugin_result_and_time(cli, home, toy):
    cli("plugin", "list")
    done = cli("plugin", "list", "--json", BANGER_TRACE="hooks")
    assert json.loads(done.stdout)
    lines = [line for line in done.stderr.splitlines() if line.startswith("hooks: acme-toys:toy")]
    said = [line.partition(" (")[0].removeprefix("hooks: acme-toys:toy ") for line in lines]
    assert said == [
        "import: acme_toys_toy_plugin",
        "banger_event_sinks: toy-log",
        "banger_vmm_drivers: toy",
    ]
    assert all(line.endswith(" ms)") for line in lines)


def test_trace_shows_who_failed(cli, home, site):
    install_plugin(site, "bad", source="raise OSError")
    assert "hooks: bad:bad import: raised OSError" in cli("version", BANGER_TRACE="hooks").stderr


def test_trace_of_nothing_is_refused(cli, home):
    done = cli("plugin", "list", BANGER_TRACE="hoks")
    assert done.returncode == 2
    assert "BANGER_TRACE=hooks" in done.stderr


def test_a_disabled_plugin_s_code_never_runs(cli, home, site, tmp_path):
    mark = tmp_path / "ran"
    install_plugin(site, "spy", source=f"open({os.fspath(mark)!r}, 'w')\nBANGER_API = 1\n")
    write_config('[plugins]\ndisabled = ["spy"]\n')
    assert rows(cli)["spy"]["status"] == "disabled"
    cli("plugin", "show", "spy")
    cli("plugin", "doctor")
    assert not mark.exists()
