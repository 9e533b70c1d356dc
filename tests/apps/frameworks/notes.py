"""What the applications here tell the test: words in the file NOTES. CPython 3.10."""

import os


def note(what):
    with open(os.environ["NOTES"], "a") as file:
        file.write(what + "\n")
