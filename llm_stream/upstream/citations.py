"""Finds the sources and files of one answer in the different places where providers put them."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ..events import File
from ..events import Source
from .text import whole

CITING = ("citations", "search_results")
"""Top-level fields of a chunk (Perplexity, xAI). Every chunk repeats the same values."""

ANY_IMAGE = "image/*"


class Citations:
    """Returns each source and each file only once."""

    def __init__(self) -> None:
        self._sources: set[Source] = set()
        self._urls: set[str] = set()
        self._files: set[str] = set()

    def of_chunk(self, chunk: Mapping[str, Any]) -> list[Source]:
        """The sources of a chunk. Search results come first: they have titles, while citations are just their URLs."""
        results = [_source(result) for result in _mappings(chunk.get("search_results"))]
        urls = [_source({"url": url}) for url in _list(chunk.get("citations"))]
        return [source for source in (*results, *urls) if source and source.url not in self._urls and self._add(source)]

    def of_part(self, part: Mapping[str, Any]) -> list[Source | File]:
        """`part` is a delta or a message."""
        return [*self._annotations(part.get("annotations")), *self._images(part.get("images"))]

    def _annotations(self, annotations: Any) -> Iterator[Source]:
        for annotation in _mappings(annotations):
            if annotation.get("type") in (None, "url_citation"):
                fields = annotation.get("url_citation")
                source = _source(fields if isinstance(fields, Mapping) else annotation)
                if source and source not in self._sources and self._add(source):
                    yield source

    def _images(self, images: Any) -> Iterator[File]:
        for image in _mappings(images):
            fields = image.get("image_url")
            url = fields.get("url") if isinstance(fields, Mapping) else fields
            url = whole(url) if isinstance(url, str) else ""
            if url not in self._files and (media_type := _media_type(url)):
                self._files.add(url)
                yield File(url, media_type)

    def _add(self, source: Source) -> bool:
        self._sources.add(source)
        self._urls.add(source.url)
        return True


def _source(fields: Mapping[str, Any]) -> Source | None:
    """None if it has no URL that a page may link to."""
    url, title = fields.get("url"), fields.get("title")
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        return None
    start, end = _place(fields.get("start_index")), _place(fields.get("end_index"))
    if start is None or end is None or start >= end:
        start = end = None  # an empty range means that the provider does not know the passage
    return Source(whole(url), whole(title) if title and isinstance(title, str) else None, start, end)


def _place(index: Any) -> int | None:
    return index if isinstance(index, int) and index >= 0 else None


def _media_type(url: str) -> str | None:
    """The media type; None if the URL is not an image that a page may show."""
    if url.startswith("data:image/"):
        return url[len("data:") :].partition(",")[0].partition(";")[0]
    if url.startswith("https://"):
        try:
            return mimetypes.guess_type(urlsplit(url).path)[0] or ANY_IMAGE
        except ValueError:  # half of an IPv6 address
            return None
    return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mappings(value: Any) -> Iterable[Mapping[str, Any]]:
    return [each for each in _list(value) if isinstance(each, Mapping)]
