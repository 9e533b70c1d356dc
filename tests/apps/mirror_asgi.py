"""The ASGI twin of ``mirror_wsgi``. Fields are lists of pairs here: nothing is joined."""

import json

SEEN = []


async def application(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("only HTTP is spoken here")
    if scope["path"] == "/--seen":
        answer = SEEN
    else:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return  # the rest will never come: half a message is no message
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        text = f"{scope['method']} {scope['path']} {body.decode('latin-1')}"
        SEEN.append(text)
        answer = {
            "text": text,
            "fields": [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
            "client": scope["client"][0],
            "scheme": scope["scheme"],
            "forged": scope["root_path"],
        }
    data = json.dumps(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": data})
