"""Promise of ``--reload``: after a save the new code answers, no request fails meanwhile, and code that does not start
changes nothing.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.client import request
from tests.support.load import Load
from tests.support.site import Site, StartSite
from tests.support.waiting import wait_until

WSGI = """
from words import WORD

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [WORD.encode()]
"""
ASGI = """
from words import WORD

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        assert (await receive())["type"] == "lifespan.startup"
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        with open("shut_down", "a") as file:
            file.write(WORD + "\\n")
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": WORD.encode()})
"""
RELOAD = ("--reload",)


def project(folder: Path, kind: str = "wsgi", word: str = "one") -> None:
    (folder / "proj").mkdir()
    (folder / "proj/shop.py").write_text(WSGI if kind == "wsgi" else ASGI)
    say(folder, word)


def say(folder: Path, word: str) -> None:
    """Write as most editors do."""
    (folder / "proj/words.py").write_text(f"WORD = {word!r}\n")


def site_text(more: str = "", workers: int = 2) -> str:
    return f"""
[app.shop]
entry = "shop:application"
root = "proj"
workers = {workers}
{more}
[site.a]
hosts = ["a"]
app = "shop"
"""


def wait_word(site: Site, word: str) -> None:
    wait_until(lambda: site.get("/").text == word, f"{word!r} from the application; {site.lines[-5:]}")


@pytest.mark.parametrize("more", ["", "preload = true"], ids=["", "preload"])
@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_save_under_load_costs_no_request(start_site: StartSite, tmp_path: Path, kind: str, more: str) -> None:
    project(tmp_path, kind)
    site = start_site(site_text(more), arguments=RELOAD)
    with Load(site.address, request("/", "a"), clients=2) as load:
        for word in ("two", "six", "ten"):
            load.wait_answers(20)
            say(tmp_path, word)  # of the same size each time, and within a second
            wait_word(site, word)
            # From the first new answer on there is no old one.
            assert {site.get("/").text for _ in range(10)} == {word}
    assert not load.ledger.lost
    assert load.ledger.statuses().keys() == {200}
    texts = [answer.text for answer in load.ledger.answers]
    assert set(texts) <= {"one", "two", "six", "ten"}
    site.wait_line("pyserve: reload: shop: words.py changed: starting the new code")
    site.wait_line("info .*app shop: the new code runs")
    wait_until(lambda: len(site.workers("shop")) == 2, "two workers again")
    wait_until(lambda: sum(" template " in p.title for p in site.observe()) == 1, "one template")
    if kind == "asgi":
        # The old workers were not killed.
        assert {"one", "two", "six"} <= set((tmp_path / "proj/shut_down").read_text().split())


@pytest.mark.parametrize("more", ["", "preload = true"], ids=["", "preload"])
def test_code_that_does_not_start_leaves_the_old_one_answering(
    start_site: StartSite, tmp_path: Path, more: str
) -> None:
    project(tmp_path)
    site = start_site(site_text(more, workers=1), arguments=RELOAD)
    site.expect_error("the new code does not start, the old code goes on serving: SyntaxError")
    site.tolerate_error("could not", "SyntaxError")
    (pid,) = site.worker_pids("shop")
    (tmp_path / "proj/words.py").write_text("WORD = (\n")
    site.wait_line("pyserve: reload: shop: THE OLD CODE STILL ANSWERS")
    assert any("words.py" in line and "File" in line for line in site.lines), "the traceback is there"
    assert site.get("/").text == "one"
    assert site.worker_pids("shop") == [pid]
    say(tmp_path, "two")
    wait_word(site, "two")


def test_a_site_that_was_broken_from_the_start_is_mended_at_once(start_site: StartSite, tmp_path: Path) -> None:
    project(tmp_path)
    (tmp_path / "proj/words.py").write_text("raise LookupError('no words')\n")
    site = start_site(site_text(workers=1), arguments=RELOAD)
    site.expect_error("could not start", "app shop can't run")
    assert site.get("/").status == 503
    # By now the pause before another try is a long one.
    wait_until(lambda: sum("could not start" in line for line in site.lines) >= 6, "some tries", 20)
    say(tmp_path, "two")
    wait_word(site, "two")


def test_many_files_at_once_are_one_change(start_site: StartSite, tmp_path: Path) -> None:
    project(tmp_path)
    for number in range(300):
        (tmp_path / f"proj/more_{number}.py").write_text("x = 1\n")
    site = start_site(site_text(workers=1), arguments=RELOAD)
    new = tmp_path / "new"
    shutil.copytree(tmp_path / "proj", new)
    for path in new.glob("more_*.py"):
        path.write_text("x = 22\n")
    (new / "words.py").write_text("WORD = 'two'\n")
    # As a checkout does it: each file replaced by another.
    for path in sorted(new.glob("*.py")):
        os.replace(path, tmp_path / "proj" / path.name)
    shutil.rmtree(new)
    wait_word(site, "two")
    # One, as a rule; a machine that stops in the middle of it may make two of it.
    assert sum("changed: starting" in line for line in site.lines) < 10


def test_only_what_belongs_to_the_changed_files_is_renewed(start_site: StartSite, tmp_path: Path) -> None:
    project(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/else_.py").write_text(WSGI.replace("from words import WORD", "WORD = 'else'"))
    other = '[app.other]\nentry = "else_:application"\nroot = "other"\nworkers = 1\n'
    site = start_site(other + site_text(workers=1) + '[site.b]\nhosts = ["b"]\napp = "other"\n', arguments=RELOAD)
    with site.same_workers("other"):
        say(tmp_path, "two")
        wait_word(site, "two")
    assert site.get("/", host="b").text == "else"


def test_an_application_can_be_renewed_by_hand(start_site: StartSite, tmp_path: Path) -> None:
    project(tmp_path)
    site = start_site(site_text())
    say(tmp_path, "other")
    assert site.get("/").text == "one"
    assert site.admin("renew shop") == b'{"renewed": true}\n'
    wait_until(lambda: {site.get("/").text for _ in range(10)} == {"other"}, "new code alone")
    assert site.admin("renew nothing") == b'{"error": "there is no app of that name"}\n'
