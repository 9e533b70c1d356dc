"""Content types by file name.

Pure. A table of our own instead of ``mimetypes``: that one reads files of the machine and changes from Python to
Python, and an answer must not depend on where the server runs.
"""

from __future__ import annotations

_TABLE = """
text/html: html htm shtml
text/css: css
text/javascript: js mjs cjs
text/plain: txt text log conf ini cfg asc
text/csv: csv
text/markdown: md markdown
text/calendar: ics ifb
text/vcard: vcf
text/vtt: vtt
text/x-python: py
text/x-component: htc
text/mathml: mml
application/json: json map
application/ld+json: jsonld
application/geo+json: geojson
application/manifest+json: webmanifest
application/xml: xml xsl xsd
application/xhtml+xml: xhtml
application/rss+xml: rss
application/atom+xml: atom
application/yaml: yaml yml
application/toml: toml
application/pdf: pdf
application/rtf: rtf
application/postscript: ps eps ai
application/wasm: wasm
application/epub+zip: epub
application/zip: zip
application/gzip: gz tgz
application/x-bzip2: bz2
application/x-xz: xz
application/zstd: zst
application/x-7z-compressed: 7z
application/x-tar: tar
application/vnd.rar: rar
application/java-archive: jar war ear
application/vnd.android.package-archive: apk
application/x-debian-package: deb
application/x-rpm: rpm
application/vnd.sqlite3: sqlite sqlite3 db
application/msword: doc
application/vnd.ms-excel: xls
application/vnd.ms-powerpoint: ppt
application/vnd.openxmlformats-officedocument.wordprocessingml.document: docx
application/vnd.openxmlformats-officedocument.spreadsheetml.sheet: xlsx
application/vnd.openxmlformats-officedocument.presentationml.presentation: pptx
application/vnd.oasis.opendocument.text: odt
application/vnd.oasis.opendocument.spreadsheet: ods
application/vnd.oasis.opendocument.presentation: odp
application/vnd.oasis.opendocument.graphics: odg
application/vnd.ms-fontobject: eot
application/vnd.google-earth.kml+xml: kml
application/vnd.google-earth.kmz: kmz
application/vnd.apple.mpegurl: m3u8
application/dash+xml: mpd
application/x-x509-ca-cert: der pem crt
application/pgp-signature: sig
image/png: png
image/apng: apng
image/jpeg: jpg jpeg jfif
image/gif: gif
image/webp: webp
image/avif: avif
image/jxl: jxl
image/heic: heic
image/svg+xml: svg
image/tiff: tif tiff
image/bmp: bmp
image/x-icon: ico cur
font/woff2: woff2
font/woff: woff
font/ttf: ttf
font/otf: otf
font/collection: ttc
audio/mpeg: mp3
audio/mp4: m4a
audio/aac: aac
audio/ogg: ogg oga opus
audio/flac: flac
audio/wav: wav
audio/midi: mid midi
audio/webm: weba
video/mp4: mp4 m4v
video/webm: webm
video/ogg: ogv
video/mpeg: mpg mpeg
video/quicktime: mov
video/x-matroska: mkv
video/x-msvideo: avi
video/mp2t: ts
video/3gpp: 3gp
model/gltf+json: gltf
model/gltf-binary: glb
"""
_TYPES = {
    suffix: media_type
    for media_type, suffixes in (line.split(": ") for line in _TABLE.strip().splitlines())
    for suffix in suffixes.split()
}
# Text in all but name: without a charset a browser would guess.
_TEXT_ENDINGS = ("json", "xml", "yaml", "toml")
# Nobody keeps a coded copy of what is packed already.
_PACKED_SUFFIXES = """
png jpg jpeg jfif gif webp avif jxl heic mp3 m4a aac ogg oga opus flac weba mp4 m4v webm ogv mpg mpeg mov mkv avi ts 3gp
woff woff2 gz tgz br bz2 xz zst zip 7z rar jar war ear apk deb rpm docx xlsx pptx odt ods odp odg epub kmz
"""
_PACKED = frozenset(_PACKED_SUFFIXES.split())
UNKNOWN = "application/octet-stream"


class MediaTypes:
    """The table with a config's own ``types`` (suffix in lower case to media type) and ``charset`` ("" = none)."""

    __slots__ = ("_charset", "_known", "_own")

    def __init__(self, own: dict[str, str] | None = None, charset: str = "utf-8") -> None:
        self._own = own or {}
        self._charset = charset
        self._known: dict[str, tuple[bytes, bool]] = {}

    def of(self, name: bytes) -> tuple[bytes, bool]:
        """Return the value of ``Content-Type`` for a file name, by what follows its last dot, and whether such files
        are packed as they are."""
        stem, dot, suffix = name.rpartition(b"/")[2].rpartition(b".")
        text = suffix.decode("latin-1").lower() if dot and stem else ""
        known = self._known.get(text)
        if known is None:
            known = (self._with_charset(self._own.get(text) or _TYPES.get(text, UNKNOWN)).encode(), text in _PACKED)
            if len(self._known) < 1024:  # LIMIT: bounded; names with odd suffixes are looked up each time
                self._known[text] = known
        return known

    def _with_charset(self, media_type: str) -> str:
        is_text = media_type.startswith("text/") or media_type.endswith(_TEXT_ENDINGS)
        return (
            f"{media_type}; charset={self._charset}"
            if is_text and self._charset and ";" not in media_type
            else media_type
        )


_default = MediaTypes()


def content_type(name: str) -> str:
    """Return the value of ``Content-Type`` for a file name where no config says otherwise."""
    return _default.of(name.encode("utf-8", "surrogateescape"))[0].decode()
