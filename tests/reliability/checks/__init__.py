"""One file per check: ``run(settings) -> list[Figure]``; the first line of its docstring is what --help shows."""
