"""A FastAPI application with its /docs (scripts from our own site), a stream, a background task and an upload."""

import asyncio
import hashlib
import os
import sys
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import BackgroundTasks, FastAPI, File
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, StreamingResponse

done = []
state = {}


@asynccontextmanager
async def lifespan(app):
    state["started"] = True
    yield
    state.clear()


app = FastAPI(title="Desk", docs_url=None, lifespan=lifespan)


@app.get("/docs", include_in_schema=False)
async def docs():
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Desk",
        swagger_js_url="/swagger/swagger-ui-bundle.js",
        swagger_css_url="/swagger/swagger-ui.css",
        swagger_favicon_url="/swagger/favicon-32x32.png",
    )


@app.get("/")
async def home():
    return {"python": list(sys.version_info[:2]), "started": state.get("started", False)}


@app.get("/items/{number}")
async def item(number: int, q: str = ""):
    return {"number": number, "q": q}


@app.get("/download")
async def download():
    return FileResponse(os.environ["DOWNLOAD"])


@app.get("/stream")
async def stream():
    async def numbers():
        for number in range(1000):
            yield f"{number}\n"
            if number % 100 == 0:
                await asyncio.sleep(0)

    return StreamingResponse(numbers(), media_type="text/plain")


@app.post("/later/{word}")
async def later(word: str, tasks: BackgroundTasks):
    tasks.add_task(finish, word)
    return {"accepted": word}


async def finish(word):
    await asyncio.sleep(0.05)
    done.append(word)


@app.get("/done")
async def show_done():
    return done


@app.post("/upload")
async def upload(file: Annotated[bytes, File()]):
    return {"bytes": len(file), "sha256": hashlib.sha256(file).hexdigest()}
