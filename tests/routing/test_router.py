"""Which site and which route take a request: tables."""

from __future__ import annotations

import pytest

from pyserve.config.model import Handler, Respond, Route, Site
from pyserve.errors import Fate, RequestError
from pyserve.routing.router import Router


def site(name: str, hosts: list[str], *paths: str, default: bool = False, own: bool = True) -> Site:
    return Site(
        name,
        tuple(hosts),
        default,
        Respond(body="own") if own else None,
        tuple(Route(path, Respond(body=path)) for path in paths),
    )


def build(handler: Handler, site: Site, route: Route | None) -> str:
    return f"{site.name}:{route.path if route else 'own'}"


HOSTS = Router(
    [
        site("exact", ["a.com", "b.com"]),
        site("wild", ["*.a.com"]),
        site("deep", ["*.x.a.com"]),
        site("exact-in-wild", ["www.a.com"]),
        site("regex-1", [r"~^shop\d+\.net$"]),
        site("regex-2", [r"~\.net$"]),
        site("six", ["[::1]"]),
    ],
    build,
)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("a.com", "exact"),
        ("b.com", "exact"),
        ("x.a.com", "wild"),
        ("y.x.a.com", "deep"),
        ("z.y.x.a.com", "deep"),
        ("z.y.a.com", "wild"),
        ("www.a.com", "exact-in-wild"),
        ("shop7.net", "regex-1"),
        ("other.net", "regex-2"),
        ("[::1]", "six"),
    ],
)
def test_a_host_finds_its_site(host: str, name: str) -> None:
    assert HOSTS.find(host, "/").site.name == name


@pytest.mark.parametrize("host", ["", "xa.com", "com", "a.com.evil.org", "a.com.", "*.b.com", "." * 5000 + "org"])
def test_an_unknown_host_without_a_default_site_is_misdirected(host: str) -> None:
    with pytest.raises(RequestError) as caught:
        HOSTS.find(host, "/")
    assert (caught.value.status, caught.value.fate) == (421, Fate.KEEP)


def test_an_unknown_host_gets_the_default_site() -> None:
    router = Router([site("a", ["a.com"]), site("b", [], default=True)], build)
    assert router.find("nobody.org", "/").site.name == "b"
    assert router.find("", "/").site.name == "b"


PATHS = Router(
    [
        site(
            "s",
            ["s"],
            "/static/*",
            "/static/late",
            "/exact",
            r"~^/u/(?P<who>[^/]+)/(.*)",
            "/exact/*",
            "/u/*",
            r"~\.php$",
            "/deep/er/*",
            "/deep/*",
            r"~^/opt(?:/(?P<x>\d+))?$",
        )
    ],
    build,
)


@pytest.mark.parametrize(
    ("path", "handler", "rest"),
    [
        ("/static/a/b.css", "/static/*", "a/b.css"),
        ("/static/", "/static/*", ""),
        ("/static", "/static/*", ""),
        ("/static/late", "/static/*", "late"),  # the first match, not the best
        ("/static//x", "/static/*", "/x"),
        ("/staticx", "own", "staticx"),
        ("/exact", "/exact", ""),
        ("/exact/", "/exact/*", ""),
        ("/exact/y", "/exact/*", "y"),
        ("/u/ann/pics/1", r"~^/u/(?P<who>[^/]+)/(.*)", "ann"),
        ("/u/ann", "/u/*", "ann"),
        ("/a/b.php", r"~\.php$", ""),
        ("/static/b.php", "/static/*", "b.php"),
        ("/deep/er/x", "/deep/er/*", "x"),
        ("/deep/e", "/deep/*", "e"),
        ("/opt", r"~^/opt(?:/(?P<x>\d+))?$", ""),
        ("/opt/5", r"~^/opt(?:/(?P<x>\d+))?$", "5"),
        ("/", "own", ""),
        ("/any/thing", "own", "any/thing"),
        ("/" * 30000, "own", "/" * 29999),
        ("*", "own", ""),
        ("/\udcff.php", r"~\.php$", ""),
    ],
)
def test_a_path_finds_the_first_route_that_takes_it(path: str, handler: str, rest: str) -> None:
    match = PATHS.find("s", path)
    assert (match.handler, match.rest) == (f"s:{handler}", rest)


def test_named_groups_come_by_name_and_are_empty_when_they_took_no_part() -> None:
    assert PATHS.find("s", "/u/ann/x").groups == {"who": "ann"}
    assert PATHS.find("s", "/opt").groups == {"x": ""}
    assert PATHS.find("s", "/static/x").groups == {}


def test_a_prefix_of_everything_takes_everything_but_the_asterisk() -> None:
    router = Router([site("s", ["s"], "/*", own=False)], build)
    assert router.find("s", "/").rest == ""
    assert router.find("s", "/a/b").rest == "a/b"
    with pytest.raises(RequestError) as caught:
        router.find("s", "*")
    assert caught.value.status == 404


def test_a_path_that_no_route_takes_on_a_site_without_handler_is_not_found() -> None:
    router = Router([site("s", ["s"], "/only", own=False)], build)
    with pytest.raises(RequestError) as caught:
        router.find("s", "/other")
    assert (caught.value.status, caught.value.fate) == (404, Fate.KEEP)


def test_a_match_names_the_route_or_none_for_the_sites_own_handler() -> None:
    assert PATHS.find("s", "/exact").route == Route("/exact", Respond(body="/exact"))
    assert PATHS.find("s", "/").route is None


def test_a_thousand_sites_are_found_like_one() -> None:
    paths = [f"/r{number}/*" for number in range(18)] + [r"~^/x(\d+)$", "/ping"]
    router = Router([site(f"s{number}", [f"s{number}.test"], *paths) for number in range(1000)], build)
    for number in (0, 500, 999):
        assert router.find(f"s{number}.test", "/ping").handler == f"s{number}:/ping"
        assert router.find(f"s{number}.test", "/r17/x").rest == "x"
        assert router.find(f"s{number}.test", "/x12").rest == "12"
