"""Write a Django project of real size: many apps, models, forms, admin classes, templates and URLs, and its database.

What takes the memory of such a project is not its own code but what Django makes of it: model classes, fields, URL
patterns, the admin. So it is generated, and every part of it is used by a request.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

APPS, MODELS_PER_APP, URLS_PER_APP = 25, 8, 12

SETTINGS = """
import os
from pathlib import Path
BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "for a benchmark"
DEBUG = False
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
    "django.contrib.messages", "django.contrib.staticfiles", "django.contrib.sitemaps", "django.contrib.humanize",
    *(f"app{number}" for number in range(APPS)),
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware", "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware", "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware", "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "project.urls"
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
WSGI_APPLICATION = "project.wsgi.application"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
STATIC_URL = "static/"
"""
URLS = """
from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls)]
urlpatterns += [path(f"app{number}/", include(f"app{number}.urls")) for number in range(APPS)]
"""
WSGI = """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""
MODEL = """

class Model{number}(models.Model):
    \"\"\"A thing that the shop of this app sells, with all that is known of it.\"\"\"

    class State(models.TextChoices):
        NEW = "new", "New"
        OLD = "old", "Old"

    name = models.CharField("name", max_length=100, db_index=True)
    slug = models.SlugField(unique=True)
    text = models.TextField(blank=True, help_text="What is to be said of it.")
    price = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    state = models.CharField(max_length=10, choices=State.choices, default=State.NEW)
    made_at = models.DateTimeField(auto_now_add=True)
    is_shown = models.BooleanField(default=True)
    rank = models.PositiveIntegerField(default=0)
    owner = models.ForeignKey("auth.User", null=True, on_delete=models.SET_NULL, related_name="+"){relation}

    class Meta:
        ordering = ["rank", "name"]
        verbose_name = "thing {number}"

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return f"/app/{{self.slug}}/"
"""
ADMIN = """

@admin.register(models.Model{number})
class Model{number}Admin(admin.ModelAdmin):
    list_display = ["name", "price", "state", "rank", "is_shown"]
    list_filter = ["state", "is_shown"]
    search_fields = ["name", "text"]
    fieldsets = [(None, {{"fields": ["name", "slug", "text"]}}), ("more", {{"fields": ["price", "state", "rank"]}})]
"""
FORM = """

class Model{number}Form(forms.ModelForm):
    class Meta:
        model = models.Model{number}
        fields = ["name", "slug", "text", "price", "state", "rank"]
"""
VIEW = """

def view{number}(request, key=0):
    things = list(models.Model{model}.objects.filter(is_shown=True).select_related("owner")[:20])
    form = forms.Model{model}Form(initial={{"name": f"number {{key}}"}})
    answer = render(request, "app{app}/page.html", {{"things": things, "form": form, "key": key}})
    answer["X-Worker"] = str(os.getpid())
    return answer
"""
PAGE = """{% load humanize %}<!doctype html><title>{{ key }}</title>
<h1>{% if user.is_authenticated %}{{ user }}{% else %}nobody{% endif %}: {{ key|intcomma }}</h1>
<ul>{% for thing in things %}<li>{{ thing.name|title }}: {{ thing.price|floatformat:2 }} {{ thing.get_state_display }}
</li>{% empty %}<li>nothing</li>{% endfor %}</ul>
<form method="post">{% csrf_token %}{{ form.as_p }}</form>
"""


def make(folder: Path, python: str) -> None:
    """Write the project into a folder; make its bytecode and database with ``python``, which has Django."""
    write(folder)
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings"}
    migrate = ("django", "migrate", "--run-syncdb", "--verbosity", "0", "--pythonpath", str(folder))
    for module in (("compileall", "-q", str(folder)), migrate):
        subprocess.run((python, "-m", *module), cwd=folder, env=environment, check=True, timeout=300)


def write(folder: Path) -> None:
    """Write its files."""
    constant = f"APPS = {APPS}\n"
    _put(folder / "project/__init__.py", "")
    _put(folder / "project/settings.py", constant + SETTINGS)
    _put(folder / "project/urls.py", constant + URLS)
    _put(folder / "project/wsgi.py", WSGI)
    for app in range(APPS):
        here = folder / f"app{app}"
        _put(here / "__init__.py", "")
        models, admin, forms, views, urls = (
            "from django.db import models\n",
            f"from django.contrib import admin\n\nfrom app{app} import models\n",
            f"from django import forms\n\nfrom app{app} import models\n",
            f"import os\n\nfrom django.shortcuts import render\n\nfrom app{app} import forms, models\n",
            f"from django.urls import path\n\nfrom app{app} import views\n\nurlpatterns = [\n",
        )
        for number in range(MODELS_PER_APP):
            other = f'"Model{number - 1}"' if number else f'"app{app - 1}.Model0"' if app else '"self"'
            more = f'null=True, on_delete=models.CASCADE, related_name="from_{app}_{number}"'
            relation = f"\n    other = models.ForeignKey({other}, {more})"
            models += MODEL.format(number=number, relation=relation)
            admin += ADMIN.format(number=number)
            forms += FORM.format(number=number)
        for number in range(URLS_PER_APP):
            views += VIEW.format(number=number, model=number % MODELS_PER_APP, app=app)
            urls += f'    path("v{number}/<int:key>/", views.view{number}, name="app{app}-view{number}"),\n'
        for name, text in (("models", models), ("admin", admin), ("forms", forms), ("views", views)):
            _put(here / f"{name}.py", text)
        _put(here / "urls.py", urls + "]\n")
        _put(here / f"templates/app{app}/page.html", PAGE)


def paths() -> list[str]:
    """Return a path for each URL, in an order that changes app and view each time."""
    count = APPS * URLS_PER_APP
    return [f"/app{n % APPS}/v{n // APPS}/{n}/" for n in range(count)]


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
