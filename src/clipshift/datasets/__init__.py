"""Data sets: clips and their labels, from folders and lists; splits and checksums. Needs no PyTorch."""

from clipshift.datasets.checksums import ClipRecord, file_hash, read_data_jsonl, write_data_jsonl
from clipshift.datasets.manifest import (
    Clip,
    DataSet,
    Manifest,
    group_of,
    make_split,
    read_dataset,
    read_manifest,
)

__all__ = [
    "Clip",
    "ClipRecord",
    "DataSet",
    "Manifest",
    "file_hash",
    "group_of",
    "make_split",
    "read_data_jsonl",
    "read_dataset",
    "read_manifest",
    "write_data_jsonl",
]
