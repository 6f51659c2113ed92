"""What a published dataset says of itself: its index (a parquet row per sample, as they lie) and its figures.

Completeness is judged by the index, never by "the tar ended". Making datasets is `pack.py`'s, reading `reader.py`'s.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from shards.errors import ObjectDamaged
from shards.fingerprint import fingerprint
from shards.records import Account, ObjectRef, SampleEntry, from_record
from shards.schema import SCHEMA_VERSION, check_schema_version
from shards.store import Store

CURRENT_PATH = "CURRENT"
"""Holds the hash of the newest dataset."""

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
class IndexRow:
    """A sample of a dataset, and where it lies."""

    object: str
    split: Split
    entry: SampleEntry
    """Offset and size within `object`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """What a dataset is, in figures: the content of dataset.json."""

    hash: str
    """Fingerprint of all the rest and of the index."""
    plan_id: str
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


_info: TypeAdapter[DatasetInfo] = TypeAdapter(DatasetInfo)


def dataset_hash(info: DatasetInfo, table: pa.Table) -> str:
    """The name of a dataset of these figures and this index."""
    rows = hashlib.sha256()
    for row in table.to_pylist():
        rows.update(bytes.fromhex(fingerprint(row)))
    return fingerprint("dataset", replace(info, hash=""), rows.hexdigest())


def index_path(name: str) -> str:
    return f"datasets/{name}/index.parquet"


def info_path(name: str) -> str:
    return f"datasets/{name}/dataset.json"


def read_info(store: Store, name: str) -> DatasetInfo:
    """The dataset.json of the dataset of that hash."""
    path = info_path(name)
    return from_record(_info, store.read(path), f"{store.uri}/{path}")


def index_table(rows: Iterable[IndexRow]) -> pa.Table:
    """The rows as a table, in the order given."""
    flat = [
        {**asdict(row.entry), "scores": sorted(row.entry.scores.items()), "object": row.object, "split": row.split}
        for row in rows
    ]
    return pa.Table.from_pylist(flat, schema=SCHEMA)


def index_bytes(table: pa.Table) -> bytes:
    """The table as a parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def read_index(data: bytes, where: str) -> pa.Table:
    """The inverse of `index_bytes`; `where` names the file in errors."""
    try:
        table = pq.read_table(io.BytesIO(data))
    except (pa.ArrowInvalid, OSError) as error:
        raise ObjectDamaged(f"{where} is not a parquet file: {error}") from error
    version = (table.schema.metadata or {}).get(b"schema_version", b"").decode()
    check_schema_version(int(version) if version.isdigit() else version, where)
    if not table.schema.equals(SCHEMA):
        raise ObjectDamaged(f"{where} has other columns than its schema version says: {table.schema.names}")
    return table
