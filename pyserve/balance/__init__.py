"""Step 5 of the request path: who gets a request, and how long it waits. Pure."""
