"""pyserve and its peers side by side: ``python -m benchmarks`` (see README.md).

Each module named after a question (``hello_asgi``, ``files_small``, ...) is one scenario; the others are the harness:
``files``, ``folders`` and ``answers`` are what the questions about files share, ``tools`` finds the programs,
``stacks`` and ``nginx`` say how each server is started, ``servers`` starts and ends them, ``load`` makes requests,
``cpu`` reads /proc, ``rounds`` takes turns, ``scenario`` holds the values, ``report`` prints.
"""
