-- What was seen of Matrix, so that a start or a pass need not look at everything again.
-- It stands only as a whole: where anything differs, everything is looked at anew.

-- The bookmark: everything that happened before `token` is in `facts` and in room_meta.
CREATE TABLE kept (
    only INTEGER PRIMARY KEY NOT NULL CHECK (only = 1),
    token TEXT NOT NULL,
    -- The position of an answer that said nothing, until another one confirms it.
    ahead TEXT,
    -- Of whatever else the facts and rows hang on: rules, filter, account, server.
    fingerprint TEXT NOT NULL,
    -- The sum over all rows and facts.
    digest INTEGER NOT NULL,
    -- When everything was looked at, in ms.
    whole_at INTEGER NOT NULL
);

CREATE TABLE facts (
    room_id TEXT PRIMARY KEY NOT NULL,
    -- Whether /joined_rooms had it.
    joined INTEGER NOT NULL,
    fact BLOB NOT NULL
);

-- Rooms that the next pass reads again, whether they changed or not.
CREATE TABLE due (
    room_id TEXT PRIMARY KEY NOT NULL
) WITHOUT ROWID;
