"""Two real sites to serve, as their builders made them, kept between runs beside the environments of the applications.

The documentation is Debian's package of one, unpacked where the tests may write: it is not installed, because that
takes root and images of Debian often leave ``/usr/share/doc`` out. The single-page application is ``tests/apps/atlas``,
built by npm and Vite. What can't be fetched is listed as NOT RUN.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.support import tools
from tests.support.environments import CACHE, run

# pandas: 7,300 files of Sphinx, 270 MB. Its scripts are links to what the other packages have.
DOCUMENTATION = ["python-pandas-doc", "libjs-sphinxdoc", "libjs-jquery", "libjs-underscore"]
HTML = "root/usr/share/doc/python-pandas-doc/html"
ATLAS = Path(__file__).resolve().parents[1] / "apps/atlas"


def documentation() -> Path:
    """Return the folder of the documentation; links in it lead out of it, to elsewhere in what was unpacked."""
    apt, unpacker = tools.find("apt-get"), tools.find("dpkg-deb")
    assert apt, "the test has to say that it needs apt-get"
    assert unpacker, "the test has to say that it needs dpkg-deb"
    folder = CACHE / f"documentation-{_key(repr(DOCUMENTATION).encode())}"
    done = folder / "complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        packages = folder / "packages"
        packages.mkdir(parents=True)
        _download(apt, packages)
        for package in sorted(packages.glob("*.deb")):
            run([unpacker, "-x", str(package), str(folder / "root")], f"{package.name} could not be unpacked")
        shutil.rmtree(packages)
        # MathJax is a package of 40 MB, and linked to as one file it would not find its own: formulas stay as written.
        script = folder / HTML / "_static/MathJax.js"
        if script.is_symlink():
            script.unlink()
            script.touch()
        done.touch()
    return folder / HTML


def single_page_application() -> Path:
    """Return the folder of the built application: ``index.html``, ``assets`` with hashes in their names, and more."""
    npm = tools.find("npm")
    assert npm, "the test has to say that it needs npm"
    sources = sorted(path for path in ATLAS.rglob("*") if path.is_file())
    folder = CACHE / f"atlas-{_key(b''.join(bytes(path.relative_to(ATLAS)) + path.read_bytes() for path in sources))}"
    done = folder / "complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(ATLAS, folder)
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", f"--cache={CACHE / 'npm'}"]
        run([npm, "install", *options], "Vue and Vite could not be installed", cwd=folder)
        run(["node_modules/.bin/vite", "build"], "the application could not be built", cwd=folder)
        shutil.rmtree(folder / "node_modules")
        done.touch()
    return folder / "dist"


def _download(apt: str, folder: Path) -> None:
    """Get the packages by the machine's lists; where those are missing or old, by new ones that only we use."""
    wanted = ["-oAcquire::Retries=3", "download", *DOCUMENTATION]
    answer = subprocess.run([apt, *wanted], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if answer.returncode == 0:
        return
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    places = {"Dir::State::lists": folder / "lists", "Dir::Cache": folder, "APT::Sandbox::User": "root"}
    options = [f"-o{name}={value}" for name, value in places.items()]
    run([apt, *options, "update"], "the lists of packages could not be fetched", cwd=folder)
    run([apt, *options, *wanted], "the documentation could not be fetched", cwd=folder)


def _key(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
