import os

from django.contrib import admin
from django.http import FileResponse
from django.urls import path


def download(request):
    return FileResponse(open(os.environ["DOWNLOAD"], "rb"))


urlpatterns = [path("admin/", admin.site.urls), path("download", download)]
