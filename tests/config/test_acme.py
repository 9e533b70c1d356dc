"""``acme`` in a file: what it means, and what is wrong with it, in words."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pyserve.config import acme
from pyserve.config.load import from_tree, read_tree
from pyserve.config.model import Acme
from pyserve.errors import ConfigError

OWN = 'directory = "https://ca.test:14000/dir"'


def decode(server: str, site: str, hosts: str = '["a.com"]') -> Acme | None:
    text = f"[server]\nhttps = ':443'\n{server}\n[site.a]\nhosts = {hosts}\nrespond = {{ body = '' }}\n{site}\n"
    return from_tree(tomllib.loads(text), folder="/srv").sites[0].acme


def problems(server: str, site: str, hosts: str = '["a.com"]') -> list[str]:
    with pytest.raises(ConfigError) as caught:
        decode(server, site, hosts)
    return [str(problem) for problem in caught.value.problems]


def test_true_is_enough_and_means_lets_encrypt() -> None:
    found = decode("", "tls = { acme = true }")
    assert found is not None
    assert found.directory == "https://acme-v02.api.letsencrypt.org/directory"
    assert found.challenges == ("http-01", "tls-alpn-01")
    assert found.storage.endswith("/acme")


def test_the_contracts_own_words_are_enough() -> None:
    found = decode("", f'tls = {{ acme = {{ email = "ops@a.com", {OWN} }} }}')
    assert found is not None
    assert (found.email, found.directory) == ("ops@a.com", "https://ca.test:14000/dir")


def test_a_site_begins_with_what_the_server_has_and_may_differ() -> None:
    server = f'acme = {{ email = "ops@a.com", storage = "st", {OWN} }}'
    assert decode(server, "tls = { acme = true }") == Acme("https://ca.test:14000/dir", "ops@a.com", storage="/srv/st")
    site = 'tls = { acme = { challenge = "tls-alpn-01", key = "rsa-2048", renew_before = "10d", profile = "short" } }'
    assert decode(server, site) == Acme(
        "https://ca.test:14000/dir",
        "ops@a.com",
        ("tls-alpn-01",),
        "/srv/st",
        "rsa-2048",
        864000.0,
        "short",
    )


def test_without_it_a_site_gets_no_certificate_by_itself() -> None:
    tls = "tls = { cert = 'a.pem', key = 'a.key' }"
    assert decode("acme = { email = 'ops@a.com' }", tls) is None
    assert decode("acme = { email = 'ops@a.com' }", tls.replace("{", "{ acme = false,")) is None


def test_the_key_of_an_external_account_is_never_printed() -> None:
    found = decode(f'acme = {{ {OWN}, external_account = {{ id = "me", key = "c2VjcmV0" }} }}', "tls = { acme = true }")
    assert found is not None
    assert (found.external_id, found.external_key) == ("me", "c2VjcmV0")
    assert "c2VjcmV0" not in repr(found)


@pytest.mark.parametrize(
    ("server", "site", "expected"),
    [
        ('acme = "x"', "tls = { acme = true }", "server.acme: expected a table with"),
        ("", "tls = { acme = true, cert = 'a.pem' }", "site.a.tls.cert: has no place beside acme"),
        ("acme = { mail = 'x@y.z' }", "", 'server.acme.mail: unknown key; did you mean "email"?'),
        ("acme = { email = 'x' }", "", 'server.acme.email: expected an address, as "admin@example.com", not "x"'),
        ("acme = { email = 'a@b\\nc' }", "", "server.acme.email: expected an address"),
        ("acme = { directory = 'http://a.com/' }", "", "server.acme.directory: expected a URL that begins with https"),
        ("acme = { directory = 'https://a b/' }", "", "server.acme.directory: expected a URL"),
        ("acme = { directory = 'https://[a/' }", "", "server.acme.directory: expected a URL"),
        ("acme = { challenge = 'dns-01' }", "", 'server.acme.challenge: expected "http-01" or "tls-alpn-01"'),
        (
            "acme = { key = 'dsa' }",
            "",
            'server.acme.key: expected "ecdsa-p256", "ecdsa-p384"',
        ),
        ("acme = { renew_before = '0s' }", "", "server.acme.renew_before: expected a duration of more than nothing"),
        ("acme = { profile = 'a b' }", "", "server.acme.profile: expected the name of a profile"),
        ("acme = { external_account = { id = 'x' } }", "", "server.acme.external_account.key: missing"),
        ("acme = { external_account = { id = 'x', key = '?' } }", "", "external_account.key: expected the key as"),
        ("", "tls = { acme = 1 }", "site.a.tls.acme: expected a table with"),
    ],
)
def test_what_is_wrong_is_said(server: str, site: str, expected: str) -> None:
    (problem,) = problems(server, site or "tls = { acme = true }")
    assert expected in problem


@pytest.mark.parametrize(
    ("hosts", "directory", "expected"),
    [
        ('["*.a.com"]', OWN, "wildcards need the dns-01 challenge"),
        ('["~.*"]', OWN, "it is a pattern, not a name"),
        ('["localhost"]', "", "no public authority can reach such a name; pyserve cert self-signed"),
        ('["a.localhost"]', "", "no public authority can reach such a name"),
        ('["printer.local"]', "", "no public authority can reach such a name"),
        ('["intranet"]', "", "no public authority can reach such a name"),
        ('["192.0.2.1"]', "", "a public authority takes names"),
        ('["[2001:db8::1]"]', "", "a public authority takes names"),
        ('["a_b.com"]', "", "names with an underscore get no certificates"),
    ],
)
def test_a_name_that_can_get_no_certificate_is_refused_with_what_to_do(
    hosts: str, directory: str, expected: str
) -> None:
    (problem,) = problems(f"acme = {{ {directory} }}", "tls = { acme = true }", hosts)
    assert "site.a.tls.acme: no certificate can be had for the host" in problem
    assert expected in problem


def test_an_authority_of_ones_own_may_know_any_name() -> None:
    assert decode(f"acme = {{ {OWN} }}", "tls = { acme = true }", '["localhost", "a_b.test", "127.0.0.1", "[::1]"]')


def test_an_address_is_proved_by_http_only() -> None:
    server = f"acme = {{ {OWN}, challenge = 'tls-alpn-01' }}"
    (problem,) = problems(server, "tls = { acme = true }", '["127.0.0.1"]')
    assert 'site.a.tls.acme.challenge: expected "http-01"' in problem


def test_a_site_for_any_name_and_one_with_too_many_are_refused() -> None:
    tree = {
        "server": {"https": ":443"},
        "site": {"a": {"default": True, "respond": {"body": ""}, "tls": {"acme": True}}},
    }
    with pytest.raises(ConfigError, match="expected hosts: a certificate is for names"):
        from_tree(tree)
    names = [f"a{number}.com" for number in range(101)]
    (problem,) = problems("", "tls = { acme = true }", str(names))
    assert "a certificate is for at most 100 names, and hosts has 101" in problem


def test_a_storage_that_cannot_be_made_is_a_problem_of_the_surroundings(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tree = {
        "server": {"https": ":443", "acme": {"storage": "file/st"}},
        "site": {"a": {"hosts": ["a.com"], "respond": {"body": ""}, "tls": {"acme": True}}},
    }
    loaded = read_tree(tree, folder=str(tmp_path))
    assert not loaded.form
    assert [str(problem) for problem in loaded.problems] == [
        f"config: site.a.tls.acme: {tmp_path}/file/st can't be made: {tmp_path}/file is not a folder; name another one"
    ]


def test_files_are_named_after_the_first_host_on_every_machine() -> None:
    assert acme.certificate_path("/st", ("a.com", "b.com")) == "/st/certificates/a.com.pem"
    assert acme.certificate_path("/st", ("[::1]",)) == "/st/certificates/::1.pem"
    assert acme.challenge_certificate_path("/st", "a.com") == "/st/challenges/alpn/a.com.pem"
    assert acme.token_path("/st", "abc") == "/st/challenges/abc"
