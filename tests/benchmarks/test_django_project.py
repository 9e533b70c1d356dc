"""The project that the memory benchmark generates is whole."""

from __future__ import annotations

import ast
from pathlib import Path

from benchmarks import django_project
from benchmarks.django_project import APPS, MODELS_PER_APP, URLS_PER_APP


def test_it_has_the_size_that_it_says_and_its_files_are_python(tmp_path: Path) -> None:
    django_project.write(tmp_path)
    classes = [
        node.name
        for path in tmp_path.rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    ]
    assert len(classes) == 3 * APPS * MODELS_PER_APP, "a model, a form and an admin class each"


def test_every_url_has_its_path_once() -> None:
    views = {path.rpartition("/")[0].rpartition("/")[0] for path in django_project.paths()}
    assert len(views) == len(django_project.paths()) == APPS * URLS_PER_APP
