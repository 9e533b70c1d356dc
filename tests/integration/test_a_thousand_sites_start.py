"""Promise: a thousand sites with twenty routes each are no trouble, and the last is found like the first."""

from __future__ import annotations

from tests.support.site import StartSite


def test_a_thousand_sites_with_twenty_routes(start_site: StartSite) -> None:
    parts = []
    for number in range(1000):
        parts.append(f'[site.s{number}]\nhosts = ["h{number}.test"]\nrespond = {{ body = "site {number}" }}\n')
        parts += [
            f'[[site.s{number}.route]]\npath = "/r{route}/*"\nrespond = {{ body = "{number} {route}" }}\n'
            for route in range(20)
        ]
    site = start_site("".join(parts))
    with site.connect() as client:
        assert client.get("/", "h0.test").text == "site 0"
        assert client.get("/", "h999.test").text == "site 999"
        assert client.get("/r19/x", "h999.test").text == "999 19"
        assert client.get("/r0", "h500.test").text == "500 0"
        assert client.get("/", "h1000.test").status == 421
