"""What is said of a dead worker."""

from __future__ import annotations

from pyserve.master.reports import Death, Inquest, application_part, mute_words

MIB = 1 << 20
DEATH = Death(3, 4711, "killed by signal 11 (SIGSEGV)", 1e9, 61.5, 1200)


def test_everything_that_is_known_is_in_one_record() -> None:
    memory = tuple((10.0 * (20 - step), step * 10 * MIB) for step in range(1, 21))
    death = DEATH._replace(
        memory=memory, peak_bytes=250 * MIB, running="GET /a, 0.1 s\nPOST /b, 7.0 s", stack="Thread 1:\n  File x\n"
    )
    assert death.words().splitlines() == [
        "killed by signal 11 (SIGSEGV), 61.5 s old, 1,200 requests served",
        "  its memory: over 190 s 10 → 40 → 60 → 90 → 120 → 150 → 170 → 200 MiB of its own; 250 MiB resident at most",
        "  it was running:",
        "    GET /a, 0.1 s",
        "    POST /b, 7.0 s",
        "  its stack:",
        "    Thread 1:",
        "      File x",
    ]
    assert death.facts()["running"] == ["GET /a, 0.1 s", "POST /b, 7.0 s"]
    assert death.facts()["memory"][0] == [190.0, 10 * MIB]


def test_what_is_not_known_is_not_said() -> None:
    assert DEATH.words().splitlines() == [
        "killed by signal 11 (SIGSEGV), 61.5 s old, 1,200 requests served",
        "  it was running nothing",
    ]


def test_an_inquest_waits_for_every_front() -> None:
    inquest = Inquest(DEATH, {0, 1})
    assert not inquest.told(1, "GET /a, 1 s")
    assert not inquest.told(7, "")
    assert inquest.told(0, "GET /b, 2 s")
    assert inquest.close().running == "GET /a, 1 s\nGET /b, 2 s"


def test_a_stack_is_that_of_the_application() -> None:
    text = """Fatal Python error: Segmentation fault

Thread 0x1 (most recent call first):
  File "/x/pyserve/worker/watcher.py", line 130 in _run
  File "/x/threading.py", line 982 in run
  File "/x/threading.py", line 1002 in _bootstrap

Thread 0x3 (most recent call first):
  File "/srv/shop.py", line 5 in fetch
  File "/x/pyserve/worker/wsgi_threads.py", line 103 in _work
  File "/x/threading.py", line 982 in run

Current thread 0x2 (most recent call first):
  File "/srv/shop.py", line 13 in app
  File "/x/pyserve/worker/wsgi.py", line 112 in run
  File "<string>", line 1 in <module>
"""
    assert application_part(text).splitlines() == [
        "Fatal Python error: Segmentation fault",
        "Thread 0x3 (most recent call first):",
        '  File "/srv/shop.py", line 5 in fetch',
        "Current thread 0x2 (most recent call first):",
        '  File "/srv/shop.py", line 13 in app',
    ]


def test_the_stack_of_an_import_ends_where_the_application_begins() -> None:
    text = """Current thread 0x2 (most recent call first):
  File "/srv/shop.py", line 2 in connect
  File "/srv/shop.py", line 9 in <module>
  File "<frozen importlib._bootstrap>", line 241 in _call_with_frames_removed
  File "/x/importlib/__init__.py", line 126 in import_module
  File "/x/pyserve/worker/loader.py", line 70 in load
"""
    assert application_part(text).splitlines()[1:] == [
        '  File "/srv/shop.py", line 2 in connect',
        '  File "/srv/shop.py", line 9 in <module>',
    ]


def test_a_worker_that_never_served_is_not_said_to_have_run_nothing() -> None:
    death = DEATH._replace(was_booting=True, age_s=0.5, stack="the same as before")
    assert death.words().splitlines() == [
        "killed by signal 11 (SIGSEGV), 0.5 s old",
        "  its stack: the same as before",
    ]


def test_what_a_mute_worker_has_is_named_with_the_ids_of_its_answers() -> None:
    requests = ["GET /a abc", "POST /b def"]
    told = mute_words("Thread 0x1:\n  File x", False, requests)
    assert told.startswith("does not let go of the interpreter; it has GET /a abc, POST /b def; its threads:\nThread")
    assert mute_words("", True, requests).startswith("is stopped by a signal")
    assert mute_words("", False, []).startswith("does not say where it is")
