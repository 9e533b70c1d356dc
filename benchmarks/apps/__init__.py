"""The applications that every server under test runs."""
