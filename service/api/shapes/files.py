"""Corpora as files."""

from __future__ import annotations

from typing import Literal

import msgspec

from service.api.shapes.base import Count, Seconds, Shape


class FileFacts(Shape, kw_only=True):
    """What the reader saw. Lists of files leave the sample (its first lines) and the alphabet (its characters, the most frequent first,
    a thousand at most) out; only the answer to an upload has the warnings."""

    characters: Count
    lines: Count
    alphabet_size: Count
    sha256: str
    alphabet: str | msgspec.UnsetType = msgspec.UNSET
    sample: list[str] | msgspec.UnsetType = msgspec.UNSET
    warnings: list[str] | msgspec.UnsetType = msgspec.UNSET


class File(Shape, kw_only=True):
    """A corpus. `bytes` and `sha256` are of its text in UTF-8 with LF line ends."""

    id: str
    object: Literal["file"] = "file"
    bytes: Count
    created_at: Seconds
    filename: str
    purpose: Literal["fine-tune"] = "fine-tune"
    status: Literal["processed"] = "processed"
    meta: FileFacts
