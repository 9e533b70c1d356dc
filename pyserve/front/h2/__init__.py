"""Steps 3 to 6 of the request path, of HTTP/2: a connection, its exchanges, what they send."""
