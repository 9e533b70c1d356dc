"""Steps 4 and 6 of the request path for HTTP/2 (RFC 9113): bytes to requests, answers to frames. Pure.

``connection`` is the machine, ``streams`` its state table, ``frames`` what lies on the wire, ``hpack`` and ``huffman``
the coder of heads, ``heads`` what a block means as a canonical request, ``budget`` how much trouble is put up with.
"""
