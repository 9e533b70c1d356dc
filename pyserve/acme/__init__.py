"""Certificates by themselves: an ACME client (RFC 8555) in a process of its own, that writes them as files."""
