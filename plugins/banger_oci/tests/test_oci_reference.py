"""References: what Docker reads is read alike, what nobody can mean is refused with a reason."""

from __future__ import annotations

import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from banger_core.api import UsageProblem
from banger_oci.reference import Reference, parse_reference

HEX = "86e0e091d0da6bde2456dbb48306f3956bbeb2eae1b5b9a43045843f69fe4aaa"
DIGEST = f"sha256:{HEX}"

READ = [
    # As typed, registry, repository, tag, familiar (None: the whole)
    ("python", "docker.io", "library/python", "latest", "python:latest"),
    ("python:3.12-slim", "docker.io", "library/python", "3.12-slim", "python:3.12-slim"),
    ("library/python", "docker.io", "library/python", "latest", "python:latest"),
    ("docker.io/python", "docker.io", "library/python", "latest", "python:latest"),
    ("docker.io/library/python:3", "docker.io", "library/python", "3", "python:3"),
    ("index.docker.io/python", "docker.io", "library/python", "latest", "python:latest"),
    ("index.docker.io/org/app", "docker.io", "org/app", "latest", "org/app:latest"),
    ("org/app", "docker.io", "org/app", "latest", "org/app:latest"),
    ("library/foo/bar", "docker.io", "library/foo/bar", "latest", "library/foo/bar:latest"),
    ("test_com/foo", "docker.io", "test_com/foo", "latest", "test_com/foo:latest"),
    ("docker/migrator", "docker.io", "docker/migrator", "latest", "docker/migrator:latest"),
    # Without a slash there is no host: a name with dots, and a tag, not a port
    ("test.com:5000", "docker.io", "library/test.com", "5000", "test.com:5000"),
    ("192.168.1.1:5000", "docker.io", "library/192.168.1.1", "5000", "192.168.1.1:5000"),
    ("localhost", "docker.io", "library/localhost", "latest", "localhost:latest"),
    ("localhost:5000", "docker.io", "library/localhost", "5000", "localhost:5000"),
    # The part before the first slash has a dot or a port, or is localhost
    ("localhost/app", "localhost", "app", "latest", "localhost/app:latest"),
    ("localhost:5000/app", "localhost:5000", "app", "latest", "localhost:5000/app:latest"),
    ("host:5000/app:1", "host:5000", "app", "1", "host:5000/app:1"),
    ("127.0.0.1:5000/app", "127.0.0.1:5000", "app", "latest", "127.0.0.1:5000/app:latest"),
    ("10.0.0.1/app:2", "10.0.0.1", "app", "2", "10.0.0.1/app:2"),
    ("ghcr.io/org/app:1.2", "ghcr.io", "org/app", "1.2", "ghcr.io/org/app:1.2"),
    ("a.b-c.io/x/y/z/w", "a.b-c.io", "x/y/z/w", "latest", "a.b-c.io/x/y/z/w:latest"),
    ("xn--n3h.com:18080/app", "xn--n3h.com:18080", "app", "latest", "xn--n3h.com:18080/app:latest"),
    ("docker.io:443/app", "docker.io:443", "app", "latest", "docker.io:443/app:latest"),
    ("registry-1.docker.io/a/b", "registry-1.docker.io", "a/b", "latest", None),
    ("[::1]/app", "[::1]", "app", "latest", "[::1]/app:latest"),
    ("[::1]:5000/app:1", "[::1]:5000", "app", "1", "[::1]:5000/app:1"),
    ("[2001:DB8::1]:5000/org/app", "[2001:db8::1]:5000", "org/app", "latest", None),
    ("[2001:db8:1:2:3:4:5:6]/app:tag", "[2001:db8:1:2:3:4:5:6]", "app", "tag", None),
    # Hosts are the same in any case
    ("GHCR.io/org/app", "ghcr.io", "org/app", "latest", "ghcr.io/org/app:latest"),
    ("LOCALHOST:5000/app", "localhost:5000", "app", "latest", "localhost:5000/app:latest"),
    ("Docker.IO/python", "docker.io", "library/python", "latest", "python:latest"),
    ("host:0443/app", "host:443", "app", "latest", "host:443/app:latest"),
    ("host:65535/app", "host:65535", "app", "latest", "host:65535/app:latest"),
    # What may stand between letters
    ("a.b/c", "a.b", "c", "latest", "a.b/c:latest"),
    (
        "org/a.b_c__d-e---f",
        "docker.io",
        "org/a.b_c__d-e---f",
        "latest",
        "org/a.b_c__d-e---f:latest",
    ),
    ("0/1", "docker.io", "0/1", "latest", "0/1:latest"),
    # Tags keep their case
    ("app:Ab_c.D-9", "docker.io", "library/app", "Ab_c.D-9", "app:Ab_c.D-9"),
    ("app:_", "docker.io", "library/app", "_", "app:_"),
    (f"app:{'t' * 128}", "docker.io", "library/app", "t" * 128, f"app:{'t' * 128}"),
    # 64 hexadecimal digits are no id when something else says what they are
    (f"docker.io/{HEX}", "docker.io", f"library/{HEX}", "latest", f"{HEX}:latest"),
    (f"app:{HEX}", "docker.io", "library/app", HEX, f"app:{HEX}"),
    # The short form would be another registry's
    ("docker.io/foo.bar/app", "docker.io", "foo.bar/app", "latest", "docker.io/foo.bar/app:latest"),
    ("docker.io/localhost/app", "docker.io", "localhost/app", "latest", None),
    (f"h.io/{'a' * 255}", "h.io", "a" * 255, "latest", None),
    (f"{'a' * 63}.{'b' * 63}.io/app", f"{'a' * 63}.{'b' * 63}.io", "app", "latest", None),
]


@pytest.mark.parametrize(("text", "registry", "repository", "tag", "familiar"), READ)
def test_a_reference_is_read_as_docker_reads_it(text, registry, repository, tag, familiar):
    reference = parse_reference(text)
    assert reference == Reference(registry, repository, tag, "")
    assert str(reference) == f"{registry}/{repository}:{tag}"
    assert reference.familiar == (familiar or str(reference))
    assert parse_reference(reference.familiar) == parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "familiar"),
    [
        (f"python@{DIGEST}", f"python@{DIGEST}"),
        (f"python:3.12@{DIGEST}", f"python@{DIGEST}"),
        (f"ghcr.io/org/app@{DIGEST}", f"ghcr.io/org/app@{DIGEST}"),
        (f"[::1]:5000/app:1@{DIGEST}", f"[::1]:5000/app@{DIGEST}"),
        (f"host:5000/app@{DIGEST}", f"host:5000/app@{DIGEST}"),
    ],
)
def test_a_digest_decides(text, familiar):
    reference = parse_reference(text)
    assert (reference.tag, reference.digest, reference.selector) == ("", DIGEST, DIGEST)
    assert reference.familiar == familiar


def test_a_tag_selects_when_there_is_no_digest():
    assert parse_reference("python:3").selector == "3"


def test_docker_hub_is_served_by_another_host():
    assert parse_reference("python").host == "registry-1.docker.io"
    assert parse_reference("ghcr.io/org/app").host == "ghcr.io"
    assert parse_reference("localhost:5000/app").host == "localhost:5000"


REFUSED = [
    # As typed, the rule, what is meant
    ("", "it is empty", ""),
    ("a" * 1025, "it has 1025 characters", ""),
    ("h.io/" + "a" * 256, "at most 255 characters, not 256", ""),
    ("a/" * 128 + "a", "at most 255 characters, not 257", ""),
    # With library/ it is too long for Docker Hub
    ("a" * 248, "at most 255 characters, not 256", ""),
    ("Python", "lower-case, 'Python' is not", "python"),
    ("Python:3.12-Slim", "lower-case, 'Python' is not", "python:3.12-Slim"),
    ("org/App", "lower-case, 'App' is not", "org/app"),
    ("Org/app", "lower-case, 'Org' is not", "org/app"),
    ("ghcr.io/Org/App:1", "lower-case, 'Org' is not", "ghcr.io/org/app:1"),
    (f"host:5000/App@{DIGEST}", "lower-case, 'App' is not", f"host:5000/app@{DIGEST}"),
    ("https://ghcr.io/org/app:1", "begins with 'https://'", "ghcr.io/org/app:1"),
    ("https://GHCR.io/Org/App/", "begins with 'https://'", "ghcr.io/org/app"),
    ("http://localhost:5000/app", "plugins.oci.insecure_registries", "localhost:5000/app"),
    ("docker://python:3.12", "begins with 'docker://'", "python:3.12"),
    ("oci://python", "begins with 'oci://'", "python"),
    ("https://hub.docker.com/_/python", "begins with 'https://'", "python"),
    ("https://hub.docker.com/r/org/app/", "begins with 'https://'", "org/app"),
    ("://", "begins with '://'", ""),
    (" python", "it holds ' '", "python"),
    ("python 3", "it holds ' '", ""),
    ("python:3\n", r"it holds '\n'", "python:3"),
    ("python\0", r"it holds '\x00'", ""),
    ("python\udc80", r"it holds '\udc80'", ""),
    ("pythön", "it holds 'ö'", ""),
    ("app\u202eexe", r"it holds '\u202e'", ""),
    ("python:३", "it holds '३'", ""),
    ("aa/asdf$$^/aa", "it holds '$'", ""),
    ("app?x=1", "it holds '?'", ""),
    ("app#1", "it holds '#'", ""),
    (r"org\app", r"it holds '\\'", ""),
    ("user%40x/app", "it holds '%'", ""),
    ("[fe80::1%eth0]:5000/app", "it holds '%'", ""),
    (HEX, "that is an image's id", ""),
    (DIGEST, "a digest without a repository", ""),
    (f"docker.io/library/{DIGEST}", "a digest without a repository", ""),
    ("python:", "after the : there is no tag", "python"),
    ("python@", "after the @ there is no digest", "python"),
    ("python:3@", "after the @ there is no digest", "python:3"),
    (f"python:@{DIGEST}", "after the : there is no tag", f"python@{DIGEST}"),
    (":tag", "it names no repository", ""),
    (f"@{DIGEST}", "it names no repository", ""),
    ("/app", "it names no repository", "app"),
    ("/", "it names no repository", ""),
    ("python:-3", "'-3' is no tag", ""),
    ("python:.3", "'.3' is no tag", ""),
    (f"python:{'t' * 129}", "is no tag", ""),
    ("a:b:c", "'a:b' is no part", ""),
    ("python@sha256", "written sha256:HEX", ""),
    (f"python@{HEX}", "written sha256:HEX", f"python@{DIGEST}"),
    ("python@sha256:abc", "64 hexadecimal digits, in lower case, not 3", ""),
    (f"python@{DIGEST.upper()}", "'SHA256' is not known", f"python@{DIGEST}"),
    (f"python@sha256:{HEX.upper()}", "in lower case", f"python@{DIGEST}"),
    (f"python@sha256:{HEX[:-1]}g", "64 hexadecimal digits", ""),
    (f"python@sha512:{HEX * 2}", "digests are sha256 here, 'sha512' is not known", ""),
    ("python@md5:" + "0" * 32, "'md5' is not known", ""),
    (f"python@{DIGEST}@{DIGEST}", "64 hexadecimal digits", ""),
    (f"python@{DIGEST}:3", "64 hexadecimal digits", ""),
    ("python@sha256:../../../../etc/passwd", "64 hexadecimal digits", ""),
    ("docker///docker", "between its slashes is empty", "docker/docker"),
    ("org//app", "between its slashes is empty", "org/app"),
    ("org/", "between its slashes is empty", "org"),
    ("ghcr.io/", "no repository after the /", "ghcr.io"),
    ("ghcr.io//app", "between its slashes is empty", "ghcr.io/app"),
    ("[::1]", "a registry, but no repository", ""),
    ("[::1]:5000", "a registry, but no repository", ""),
    ("[::1]x/app", "'[::1]x' is no host", ""),
    ("[::1/app", "'[::1' is no host", ""),
    ("[]/app", "'[]' is no host", ""),
    ("[1::2::3]/app", "is no IPv6 address", ""),
    ("[12345::]/app", "is no IPv6 address", ""),
    ("[2001:db8:3:4::192.0.2.33]:5000/app", "is no host", ""),
    ("fc00::1:5000/app", "an IPv6 address stands in brackets: [fc00::1:5000]", ""),
    ("host:/app", "'host:' is no host", ""),
    ("host:port/app", "'host:port' is no host", ""),
    ("host:0/app", "between 1 and 65535, 0 does not", ""),
    ("host:65536/app", "between 1 and 65535, 65536 does not", ""),
    (f"host:{'9' * 900}/app", "between 1 and 65535", ""),
    ("-host.io/app", "'-host.io' is no host", ""),
    ("host-.io/app", "'host-.io' is no host", ""),
    ("host..io/app", "'host..io' is no host", ""),
    (".io/app", "'.io' is no host", ""),
    ("ho_st.io/app", "'ho_st.io' is no host", ""),
    ("user@host.io/app", "a digest is written sha256:HEX", ""),
    ("user:secret@host.io/app", "a digest is written sha256:HEX", ""),
    (f"{'a' * 63}.{'b.' * 96}io/app", "is no host", ""),
    ("../app", "'..' is no host", ""),
    ("./app", "'.' is no host", ""),
    ("org/../app", "'..' is no part", ""),
    ("-app", "'-app' is no part", ""),
    ("app-", "'app-' is no part", ""),
    ("_app/app", "'_app' is no part", ""),
    ("____/____", "'____' is no part", ""),
    ("org/dock..er", "'dock..er' is no part", ""),
    ("org/dock_.er", "'dock_.er' is no part", ""),
    ("org/dock-.er", "'dock-.er' is no part", ""),
    ("org/a___b", "'a___b' is no part", ""),
    ("org/[x]", "'[x]' is no part", ""),
]


@pytest.mark.parametrize(("text", "cause", "meant"), REFUSED)
def test_a_mistake_is_named_with_what_is_meant(text, cause, meant):
    with pytest.raises(UsageProblem) as caught:
        parse_reference(text)
    assert cause in caught.value.cause
    (hint,) = caught.value.hints
    if meant:
        assert hint == f"did you mean {meant}?"
    else:
        assert "did you mean" not in hint
        assert "python:3.12-slim" in hint


LETTERS = string.ascii_lowercase + string.digits
word = st.text(LETTERS, min_size=1, max_size=6)
part = st.builds(
    lambda first, rest: first + "".join(mark + more for mark, more in rest),
    word,
    st.lists(st.tuples(st.sampled_from([".", "_", "__", "-", "---"]), word), max_size=2),
)
repository = st.lists(part, min_size=1, max_size=4).map("/".join)
port = st.one_of(st.just(""), st.integers(1, 65535).map(":{}".format))
host = st.builds(
    "{}{}".format,
    st.one_of(
        st.just("localhost"),
        st.tuples(word, word).map(".".join),
        st.ip_addresses(v=4).map(str),
        st.ip_addresses(v=6).map("[{}]".format).filter(lambda text: "." not in text),
    ),
    port,
)
tag = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=128).filter(
    lambda text: text[0] not in ".-"
)
digest = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format)


@given(
    st.one_of(st.just("docker.io"), host),
    repository,
    st.one_of(st.tuples(tag, st.just("")), st.tuples(st.just(""), digest)),
)
@example("docker.io", "library/foo.bar", ("1", ""))
@example("docker.io", "localhost/app", ("1", ""))
@example("docker.io", "library/a/b", ("1", ""))
def test_the_short_form_leads_back(registry, name, selector):
    if registry == "docker.io" and "/" not in name:
        name = f"library/{name}"
    assume((name, len(selector[0])) != ("library/sha256", 64))
    reference = Reference(registry, name, *selector)
    assert parse_reference(reference.familiar) == reference
    assert parse_reference(str(reference)) == reference


@given(st.one_of(st.text(max_size=60), st.text("aA0._-:/@[]%", max_size=40)))
@example("https://https://Python:")
@example("//:@")
def test_any_text_is_a_reference_or_a_usage_problem_whose_advice_holds(text):
    try:
        reference = parse_reference(text)
    except UsageProblem as refused:
        problem = refused
    else:
        assert parse_reference(reference.familiar) == reference
        return
    assert problem.cause
    (hint,) = problem.hints
    assert "\n" not in problem.summary + problem.cause + hint
    if hint.startswith("did you mean "):
        parse_reference(hint.removeprefix("did you mean ").removesuffix("?"))
