"""What ``.ci/demo`` and ``.ci/test`` share: a ``.venv`` with pyserve installed in it, made or repaired where needed.

Runs under the system's Python with the standard library only, and has to be readable by a Python that is too old, so
that the reader is told so (no syntax newer than 3.6, ``tomllib`` imported late). Touches nothing outside ``.venv``.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
OLDEST = (3, 11)


def prepare(group=""):
    """Return the path of a Python that has pyserve (and the dependency group, if named); exit with advice if none."""
    _check_python()
    python = VENV / "bin" / "python"
    if not _works(python):
        _make_venv()
    # Both commands share the folder; each remembers what it installed, so that a second run starts at once.
    stamp = VENV / (".installed-" + (group or "run"))
    wanted = _fingerprint(python)
    if _read(stamp) != wanted:
        _install(python, group)
        stamp.write_text(wanted)
    return str(python)


def _check_python():
    if sys.version_info < OLDEST:
        have = "{}.{}.{}".format(*sys.version_info[:3])
        _give_up(
            f"pyserve needs Python 3.11 or newer; this is {have} ({sys.executable}).",
            "Debian 12, Ubuntu 24.04 and later: apt install python3 python3-venv. Elsewhere: pyenv install 3.13.",
            "Then run this command with that one, as in: python3.13 " + " ".join(sys.argv[:1]),
        )


def _make_venv():
    package = "python{}.{}-venv".format(*sys.version_info[:2])
    advice = "Install it and run this command again. Debian, Ubuntu: apt install " + package
    try:
        import ensurepip
        import venv
    except ImportError as error:
        _give_up(f"This Python can't make a virtual environment: it lacks the module {error.name!r}.", advice)
    del ensurepip, venv
    if VENV.exists():
        _say("Repairing .venv: it does not work")
        shutil.rmtree(str(VENV))
    else:
        _say("Making .venv")
    made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if made.returncode != 0 or not _works(VENV / "bin" / "python"):
        sys.stderr.write(made.stdout.decode("utf-8", "replace"))
        shutil.rmtree(str(VENV), ignore_errors=True)
        _give_up("The virtual environment could not be made.", advice)


def _works(python):
    """Is there an interpreter that runs, is new enough and has pip? Half-made environments have it only in part."""
    question = f"import pip, sys; sys.exit(sys.version_info < {OLDEST!r} or sys.prefix == sys.base_prefix)"
    try:
        answer = subprocess.run([str(python), "-c", question], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        return False
    return answer.returncode == 0


def _fingerprint(python):
    """What an installation depends on: metadata, the place of the clone (it is installed in place), the interpreter."""
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes())
    digest.update(str(ROOT).encode())
    digest.update(os.path.realpath(str(python)).encode())
    return digest.hexdigest()


def _install(python, group):
    wanted = ["--editable", str(ROOT)]
    if group:
        # pip can read dependency groups only since 25.1, and the one in a new environment may be older.
        import tomllib

        wanted += tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"][group]
    _say("Installing pyserve" + (" and what its tests need" if group else ""))
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    for attempt in (1, 2, 3):
        if subprocess.run(command).returncode == 0:
            return
        if attempt < 3:
            _say("That failed; once more")
    _give_up("The packages could not be installed (see above).", "Is the package registry reachable?")


def _read(path):
    try:
        return path.read_text()
    except OSError:
        return ""


def _say(text):
    sys.stderr.write("» " + text + " …\n")
    sys.stderr.flush()


def _give_up(*lines):
    sys.stderr.write("\n".join(lines) + "\n")
    sys.exit(1)
