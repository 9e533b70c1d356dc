"""Django for WSGI and ASGI, and Channels before it: all that the test asks of a framework. CPython 3.10."""

import asyncio
import hashlib
import os
import threading
import time

import django
from django.conf import settings
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path, reverse
from notes import note

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="only-for-this-test",
        MIDDLEWARE=["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"],
        FILE_UPLOAD_MAX_MEMORY_SIZE=100_000,
        DATA_UPLOAD_MAX_MEMORY_SIZE=None,
        # Errors are the server's to tell: it must hear of them.
        DEBUG_PROPAGATE_EXCEPTIONS=True,
    )
    django.setup()

IS_ASYNC = os.environ["FRAMEWORK"] != "wsgi"


def page(request):
    return HttpResponse(f"page of {request.path}, database open", content_type="text/plain")


def data(request):
    return JsonResponse({"query": request.GET["q"], "host": request.get_host().partition(":")[0]})


def events(request, kind):
    over = f"{kind} is over" if kind == "silence" else "ticks are over"
    pause = 0.01 if kind == "ticks" else 3600

    def ticks():
        try:
            for number in range(10**9):
                yield f"data: {number}\n\n"
                time.sleep(pause)
        finally:
            note(over)

    async def async_ticks():
        try:
            for number in range(10**9):
                yield f"data: {number}\n\n"
                await asyncio.sleep(pause)
        finally:
            note(over)

    return StreamingHttpResponse(async_ticks() if IS_ASYNC else ticks(), content_type="text/event-stream")


def upload(request):
    file = request.FILES["file"]
    digest = hashlib.sha256(b"".join(file.chunks())).hexdigest()
    return JsonResponse({"name": request.POST["name"], "file": file.name, "sha256": digest})


upload.csrf_exempt = True


class Later(HttpResponse):
    """What is to be done once the client has its answer, as Django's ``close`` lets one do."""

    def close(self):
        super().close()
        threading.Thread(target=finish).start()


def finish():
    time.sleep(0.05)
    note("done later")


def later(request):
    return Later("accepted", content_type="text/plain")


later.csrf_exempt = True


def where(request):
    return HttpResponse(request.build_absolute_uri(reverse("where")), content_type="text/plain")


def fail(request):
    raise LookupError("the framework's own failure")


def hints(request):
    request.environ["wsgi.early_hints"]([("Link", "</app.css>; rel=preload"), ("Link", "</app.js>; rel=preload")])
    return HttpResponse("hinted", content_type="text/plain")


urlpatterns = [
    path("", page),
    path("json", data),
    path("events/<kind>", events),
    path("upload", upload),
    path("later", later),
    path("where", where, name="where"),
    path("fail", fail),
    path("hints", hints),
]


def make():
    """The factory of the server's ``entry``."""
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application

    kind = os.environ["FRAMEWORK"]
    if kind == "wsgi":
        return get_wsgi_application()
    if kind == "asgi":
        return get_asgi_application()
    from channels.generic.websocket import WebsocketConsumer
    from channels.routing import ProtocolTypeRouter, URLRouter

    class Chat(WebsocketConsumer):
        def connect(self):
            self.accept("chat")

        def receive(self, text_data=None, bytes_data=None):
            self.send(text_data=f"{text_data} {self.scope['path']}")

        def disconnect(self, code):
            note(f"left with {code}")

    sockets = URLRouter([path("chat", Chat.as_asgi())])
    return ProtocolTypeRouter({"http": get_asgi_application(), "websocket": sockets})
