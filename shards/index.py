"""What a published dataset says of itself: its index (a parquet row per sample, as they lie) and its figures.

Completeness is judged by the index, never by "the tar ended". Which datasets there are is `catalog.py`'s, making them
`publish.py`'s, reading `reader.py`'s.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from shards.errors import ObjectDamaged
from shards.fingerprint import fingerprint, plain
from shards.records import Account, ObjectRef, from_record
from shards.schema import SCHEMA_VERSION, check_schema_version
from shards.store import Store

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("object", pa.string(), nullable=False),  # path in the store
        pa.field("offset", pa.int64(), nullable=False),  # bytes
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("identity", pa.string(), nullable=False),
        pa.field("language", pa.string()),
        pa.field("duration_s", pa.float64(), nullable=False),
        pa.field("num_frames", pa.int32(), nullable=False),
        pa.field("scores", pa.map_(pa.string(), pa.float64()), nullable=False),
    ],
    metadata={"schema_version": str(SCHEMA_VERSION)},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """What a dataset is, in figures: the content of dataset.json."""

    hash: str
    """Fingerprint of all the rest and of the index."""
    plan_id: str
    """What was looked at."""
    pack_plan_id: str
    """What made the shards."""
    num_samples: int
    num_frames: int
    hours: float
    size_bytes: int
    samples_by_split: Mapping[str, int]
    identities_by_split: Mapping[str, int]
    samples_by_language: Mapping[str, int]
    rejections: Mapping[str, int]
    account: Account
    shards: tuple[ObjectRef, ...]
    config: Mapping[str, Any]
    """The plan's."""
    pack_config: Mapping[str, Any]
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    """What `accept` went by."""
    hours_by_licence: Mapping[str, float] = field(default_factory=dict)
    """By what was said of the sources, `unknown` among them; empty where nothing was said of any."""


_info: TypeAdapter[DatasetInfo] = TypeAdapter(DatasetInfo)


def dataset_hash(info: DatasetInfo, table: pa.Table) -> str:
    """The name of a dataset of these figures and this index."""
    figures = plain(replace(info, hash=""))
    # A dataset of which no licence is known keeps the name it had before licences were counted.
    if not info.hours_by_licence:
        del figures["hours_by_licence"]
    return fingerprint("dataset", figures, rows_digest(table))


def rows_digest(table: pa.Table) -> str:
    """sha256 over the columns of `SCHEMA`, in its order; of equal rows it is equal, however arrow holds them.

    A column counts as its name and a zero byte, where it may be null a byte a row (1: there is a value), and its
    values: numbers as they are, little-endian; of strings the lengths (int64), then the UTF-8; of maps the numbers of
    entries (int64), then the names and the values, each as a column's values. A null is 0 or empty.
    """
    digest = hashlib.sha256()
    for column in SCHEMA:
        digest.update(column.name.encode() + b"\0")
        chunks = [chunk for chunk in table.column(column.name).chunks if len(chunk)]
        if column.nullable:
            for chunk in chunks:
                digest.update(_little_endian(chunk.is_valid().cast(pa.uint8())))
        for part in _values(chunks, column.type):
            digest.update(part)
    return digest.hexdigest()


def _values(chunks: Sequence[pa.Array], kind: pa.DataType) -> Iterator[bytes | memoryview]:
    if pa.types.is_map(kind):
        yield from (_little_endian(_lengths(chunk.offsets)) for chunk in chunks)
        # A chunk may be a part of a larger one, and its entries with it.
        yield from _values([_used(chunk, chunk.keys) for chunk in chunks], kind.key_type)
        yield from _values([_used(chunk, chunk.items) for chunk in chunks], kind.item_type)
    elif pa.types.is_string(kind):
        filled = [chunk.fill_null("") for chunk in chunks]
        yield from (_little_endian(pc.binary_length(chunk).cast(pa.int64())) for chunk in filled)
        yield from (_text(chunk) for chunk in filled)
    else:
        yield from (_little_endian(chunk.fill_null(0)) for chunk in chunks)


def _lengths(offsets: pa.Array) -> pa.Array:
    return pa.array(np.diff(offsets.to_numpy().astype(np.int64)))


def _used(chunk: pa.MapArray, entries: pa.Array) -> pa.Array:
    first, stop = chunk.offsets[0].as_py(), chunk.offsets[-1].as_py()
    return entries.slice(first, stop - first)


def _little_endian(numbers: pa.Array) -> bytes:
    values = numbers.to_numpy(zero_copy_only=False)
    return bytes(values.astype(values.dtype.newbyteorder("<"), copy=False).data)


def _text(strings: pa.Array) -> memoryview:
    _, offsets, data = strings.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[strings.offset : strings.offset + len(strings) + 1]
    return memoryview(data or b"")[int(ends[0]) : int(ends[-1])]


def index_path(name: str) -> str:
    return f"datasets/{name}/index.parquet"


def info_path(name: str) -> str:
    return f"datasets/{name}/dataset.json"


def read_info(store: Store, name: str) -> DatasetInfo:
    """The dataset.json of the dataset of that hash."""
    path = info_path(name)
    return from_record(_info, store.read(path), f"{store.uri}/{path}")


def index_bytes(table: pa.Table) -> bytes:
    """The table as a parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def read_index(data: bytes, where: str) -> pa.Table:
    """The inverse of `index_bytes`; `where` names the file in errors."""
    try:
        table = pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ObjectDamaged(f"{where} is not a parquet file: {error}") from error
    version = (table.schema.metadata or {}).get(b"schema_version", b"").decode()
    check_schema_version(int(version) if version.isdigit() else version, where)
    if not table.schema.equals(SCHEMA):
        raise ObjectDamaged(f"{where} has other columns than its schema version says: {table.schema.names}")
    return table
