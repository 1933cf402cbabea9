"""Data sets: manifests, splits, fingerprints and checks, which need no PyTorch, and what feeds a network.

The names here need no PyTorch. [clipshift.data.transforms][], [clipshift.data.dataset][], [clipshift.data.loader][]
and [clipshift.data.stream][] do, and are imported by themselves.
"""

from clipshift.data.fingerprint import Fingerprint, file_hash, read_data_jsonl, write_data_jsonl
from clipshift.data.manifest import (
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
    "DataSet",
    "Fingerprint",
    "Manifest",
    "file_hash",
    "group_of",
    "make_split",
    "read_data_jsonl",
    "read_dataset",
    "read_manifest",
    "write_data_jsonl",
]
