"""Steps 3 and 6 of the request path: the process that reads from clients and is the only one that writes to them."""
