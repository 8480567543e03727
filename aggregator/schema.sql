-- The match on disk. One transaction holds a group of messages: their records and everything that must be remembered
-- to recognise them when they come again. So a rack that dies at any moment starts again where its last commit was.
CREATE TABLE sources (
    id      INTEGER PRIMARY KEY,
    node    TEXT NOT NULL,
    boot_id BLOB NOT NULL,
    seen    TEXT NOT NULL DEFAULT '',        -- JSON: watermark and ranges of record numbers; 'retired'; '' = forgotten
    UNIQUE (node, boot_id)
);
CREATE TABLE batches (
    id              INTEGER PRIMARY KEY,
    source          INTEGER NOT NULL REFERENCES sources (id),
    epoch           INTEGER NOT NULL,
    batch_number    INTEGER,                 -- NULL: frames of a twin, taken after their wait
    first_record    INTEGER NOT NULL,        -- smallest record number stored with this row
    count           INTEGER NOT NULL,        -- records stored with this row
    first_ptp_ns    INTEGER NOT NULL,
    last_ptp_ns     INTEGER NOT NULL,
    arrived_ptp_ns  INTEGER NOT NULL,
    last_row        INTEGER NOT NULL         -- records.row of the last one
);
CREATE TABLE records (
    row      INTEGER PRIMARY KEY,
    batch    INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    key      BLOB NOT NULL UNIQUE,           -- the detection's own key: the second de-duplication
    camera   INTEGER NOT NULL,
    frame    INTEGER NOT NULL,
    ptp_ns   INTEGER NOT NULL,
    flags    INTEGER NOT NULL,
    player   BLOB,                           -- NULL while unknown
    x_m REAL NOT NULL, y_m REAL NOT NULL, vx_mps REAL NOT NULL, vy_mps REAL NOT NULL,
    ax_mps2 REAL, ay_mps2 REAL, height_m REAL
);
CREATE TABLE cameras (
    camera INTEGER PRIMARY KEY,
    owner  TEXT NOT NULL,
    epoch  INTEGER NOT NULL
);
CREATE TABLE coverage (
    camera   INTEGER NOT NULL,
    start_ns INTEGER NOT NULL,
    end_ns   INTEGER NOT NULL,
    node     TEXT NOT NULL,
    PRIMARY KEY (camera, start_ns)
) WITHOUT ROWID;
CREATE TABLE parked (
    id      INTEGER PRIMARY KEY,
    source  INTEGER NOT NULL,
    epoch   INTEGER NOT NULL,
    numbers BLOB NOT NULL,                   -- int64, little-endian
    records BLOB NOT NULL                    -- as on the wire
);
CREATE TABLE events (
    id       INTEGER PRIMARY KEY,
    ptp_ns   INTEGER NOT NULL,
    node     TEXT NOT NULL,
    severity TEXT NOT NULL,
    code     TEXT NOT NULL,
    text     TEXT NOT NULL,
    UNIQUE (ptp_ns, node, code, text)
);
CREATE TABLE totals (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
