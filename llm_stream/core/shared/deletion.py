"""Deletes a stream that this worker writes, or has written."""

from __future__ import annotations

from .shipper import Shipper


def delete(stream_id: str, shipper: Shipper) -> None:
    """Stop the stream if it runs, and hide it from all readers. Raises `LogUnavailable`.

    The end of a running stream is shipped as usual, and expires at once.
    """
    copy = shipper.get(stream_id) or shipper.shipped(stream_id)
    if copy is None:
        return
    copy.stream.delete()
    if shipper.shipped(stream_id) is not None:
        shipper.forget(stream_id)
        shipper.store.bury(stream_id, copy.header, 0.0)
