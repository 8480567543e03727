"""What is read of a trial."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from agent.camera.grid import Trigger
from hil.failover.configs import CAMERA
from hil.failover.evidence import read_frames
from hil.failover.judge import Evidence, exposures_of, grid_places


def test_a_frame_belongs_to_its_nearest_exposure_also_at_the_ends(tmp_path):
    """Stamps lie some 100 us beside the grid: the last exposure of a trial was called missing for that."""
    database = tmp_path / "match.sqlite"
    grid = Trigger(25.0, 0)
    last_ns = grid.exposure_ns(1_000_000)
    stamps = (grid.exposure_ns(999_990) - 150_000, last_ns + 150_000, grid.exposure_ns(1_000_001) + 150_000)
    with closing(sqlite3.connect(database)) as store:
        store.executescript(
            "CREATE TABLE sources (id, node); CREATE TABLE batches (id, source, epoch, arrived_ptp_ns);"
            "CREATE TABLE records (batch, camera, ptp_ns); INSERT INTO sources VALUES (1, 'node-a');"
            f"INSERT INTO batches VALUES (1, 1, 3, {last_ns});"
            + "".join(f"INSERT INTO records VALUES (1, {CAMERA}, {stamp});" for stamp in stamps)
        )
        store.commit()
    span = grid.exposure_ns(999_989) + 1, last_ns + 90_000
    found = read_frames(database, grid, span, 0)
    assert [frame.ptp_ns for frame in found] == list(stamps[:2])
    wanted = Evidence("", 0, 0, grid, *span, 0, ())
    due = exposures_of(wanted)[0]
    assert {due[0], due[-1]} == {999_990, 1_000_000} == grid_places(grid, found).keys()
