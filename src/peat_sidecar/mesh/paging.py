"""All documents of a collection, read a page at a time, lest a large mesh's records are in memory at once."""

from collections.abc import Iterator
from typing import Protocol

from peat_sidecar.records import Document

PAGE = 500


class ReadsDocuments(Protocol):
    """The part of the records that is needed here."""

    def documents(self, collection: str, /, *, after: str = "", limit: int = 1000) -> list[Document]:
        """A page in the order of the ids."""
        ...


def every_document(records: ReadsDocuments, collection: str, *, after: str = "") -> Iterator[Document]:
    """In the order of their ids, those after one. Blocks."""
    while page := records.documents(collection, after=after, limit=PAGE):
        yield from page
        after = page[-1].doc_id
