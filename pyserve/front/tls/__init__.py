"""Step 3 of the request path, on https addresses: handshakes, certificates, and the transport that encrypts."""
