"""Steps 3 to 6 of the request path, of HTTP/1: a connection, its exchanges, what they send."""
