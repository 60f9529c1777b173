-- What Matrix cannot tell again: how passes went, and since when something is so.
CREATE TABLE passes (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    result TEXT NOT NULL,
    report TEXT NOT NULL
);

CREATE TABLE conditions (
    type TEXT PRIMARY KEY NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('True', 'False', 'Unknown')),
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    changed_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE unread (
    room_id TEXT PRIMARY KEY NOT NULL,
    since INTEGER NOT NULL,
    absent_since INTEGER    -- NULL while the bot may be in it
) WITHOUT ROWID;

CREATE TABLE publications (
    id INTEGER PRIMARY KEY,
    room_id TEXT NOT NULL,
    field TEXT NOT NULL,
    at INTEGER NOT NULL,
    result TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX publications_by_time ON publications (at);
