"""Data sets of trajectories: a container for them, readers and writers, splits and windows."""

from kfjax.data.batches import run_trajectory, start_at
from kfjax.data.cutting import first_steps, pieces, whole_windows, window_at
from kfjax.data.dataset import Dataset
from kfjax.data.disk import DiskArray, on_disk, take
from kfjax.data.estimate_tables import to_pandas, to_xarray
from kfjax.data.fetching import fetch
from kfjax.data.folder import read_folder, write_folder
from kfjax.data.future import Future, split_future
from kfjax.data.indoor_uwb import read_indoor_uwb
from kfjax.data.labels import Labels
from kfjax.data.local_frame import LocalFrame, LocalPosition
from kfjax.data.nclt import read_nclt
from kfjax.data.npz import npz_splits, read_npz
from kfjax.data.reading import read_data, read_parts
from kfjax.data.scaling import Standardiser
from kfjax.data.splitting import Parts, split_parts, split_time
from kfjax.data.streams import StreamCheck, as_streams, check_streams, parallel_streams
from kfjax.data.table_files import read_table
from kfjax.data.tables import from_pandas, from_xarray

__all__ = [
    "Dataset",
    "DiskArray",
    "Future",
    "Labels",
    "LocalFrame",
    "LocalPosition",
    "Parts",
    "Standardiser",
    "StreamCheck",
    "as_streams",
    "check_streams",
    "fetch",
    "first_steps",
    "from_pandas",
    "from_xarray",
    "npz_splits",
    "on_disk",
    "parallel_streams",
    "pieces",
    "read_data",
    "read_folder",
    "read_indoor_uwb",
    "read_nclt",
    "read_npz",
    "read_parts",
    "read_table",
    "run_trajectory",
    "split_future",
    "split_parts",
    "split_time",
    "start_at",
    "take",
    "to_pandas",
    "to_xarray",
    "whole_windows",
    "window_at",
    "write_folder",
]
