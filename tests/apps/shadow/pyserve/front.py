WHO = "own pyserve.front"


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan here")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"17")]})
    await send({"type": "http.response.body", "body": WHO.encode()})
