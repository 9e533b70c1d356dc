"""A Django page that asks a database for twenty rows and shows them. Copied beside its ``database.json``, run there.

One file, with the settings that a project has in production: connections that stay, cached templates, the usual
middleware. ``wsgi`` and ``asgi`` are the same site.
"""

from __future__ import annotations

import json
from pathlib import Path

import django
from django.conf import settings
from django.db import connection, models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

HERE = Path(__file__).resolve().parent
ROWS = 5000
SHOWN = 20
PAGE = """<!doctype html><title>Articles from {{ first }}</title><h1>Articles</h1><table>
{% for article in articles %}<tr><td>{{ article.id }}<td><a href="/article/{{ article.id }}">{{ article.title }}</a>
<td>{{ article.author }}<td>{{ article.text|truncatewords:8 }}
{% endfor %}</table><p>{{ count }} shown.</p>
"""

settings.configure(
    SECRET_KEY="only for measuring",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": json.loads((HERE / "database.json").read_text())},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {"loaders": [("django.template.loaders.locmem.Loader", {"page.html": PAGE})]},
        }
    ],
)
django.setup()


class Article(models.Model):
    title = models.CharField(max_length=100)
    author = models.CharField(max_length=50)
    text = models.TextField()

    class Meta:
        app_label = "page"


def page(request: HttpRequest, first: int) -> HttpResponse:
    articles = list(Article.objects.filter(id__gte=first % (ROWS - SHOWN) + 1).order_by("id")[:SHOWN])
    return render(request, "page.html", {"first": first, "articles": articles, "count": len(articles)})


urlpatterns = [path("page/<int:first>", page)]


def fill() -> None:
    """Make the table and its rows, always the same ones."""
    with connection.schema_editor() as editor:
        editor.create_model(Article)
    Article.objects.bulk_create(
        Article(title=f"Article <{number}> & more", author=f"author {number % 37}", text=f"word{number} " * 40)
        for number in range(ROWS)
    )


def applications() -> tuple[object, object]:
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application(), get_asgi_application()


wsgi, asgi = applications()
