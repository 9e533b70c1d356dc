"""Step 5 of the request path: how the front and a worker talk. Pure; standard library only; CPython 3.10+.

This package and ``worker`` are also loaded by the application's own interpreter under a private name, which is why
both use relative imports and import nothing else of ours. README.md beside this file draws the bytes.
"""
