"""Long computations on disk: cells by key, folders that one process holds, files that tell when they are damaged."""

from .lock import held
from .plan import Plan, check_same, execute, make_plan, new_manifest
from .provenance import NO_NUMBERS, commit, digest, named_sources, of_files, sources, versions
from .sealed import seal, sha256, unseal
from .store import Manifest, Store, as_parquet, read_cell
from .workers import Backend, BackendLostError, Done, on_cores, on_ray

__all__ = [
    "NO_NUMBERS",
    "Backend",
    "BackendLostError",
    "Done",
    "Manifest",
    "Plan",
    "Store",
    "as_parquet",
    "check_same",
    "commit",
    "digest",
    "execute",
    "held",
    "make_plan",
    "named_sources",
    "new_manifest",
    "of_files",
    "on_cores",
    "on_ray",
    "read_cell",
    "seal",
    "sha256",
    "sources",
    "unseal",
    "versions",
]
