-- What this file is, and whose it is.
CREATE TABLE migrations (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    -- SQLite's clock, in ms: for people, nothing is decided by it.
    applied_at INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER) * 1000)
);

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- One row per managed room. Rows are never deleted, only detached.
CREATE TABLE room_meta (
    room_id TEXT PRIMARY KEY NOT NULL,
    room_type TEXT CHECK (room_type IN ('space', 'chat')),
    chat_id TEXT,
    space_id TEXT,
    matrix_user_id TEXT,
    platform_chat_id TEXT,
    name TEXT,
    status TEXT NOT NULL DEFAULT 'active'
        CHECK (status IN ('active', 'pending', 'detached', 'unknown')),
    reason TEXT,
    evidence TEXT,
    revision INTEGER NOT NULL DEFAULT 1
        CHECK (typeof(revision) = 'integer' AND revision > 0),
    updated_at INTEGER
) WITHOUT ROWID;

-- The places that only one room may hold; a detached row holds none.
CREATE UNIQUE INDEX one_space_per_user ON room_meta (matrix_user_id)
    WHERE room_type = 'space' AND status <> 'detached';
CREATE UNIQUE INDEX one_room_per_chat ON room_meta (matrix_user_id, chat_id)
    WHERE room_type = 'chat' AND status <> 'detached';
CREATE UNIQUE INDEX one_room_per_platform_chat ON room_meta (platform_chat_id)
    WHERE room_type = 'chat' AND status <> 'detached';

-- For the views.
CREATE INDEX rooms_of_user ON room_meta (matrix_user_id);
CREATE INDEX rooms_of_platform_chat ON room_meta (platform_chat_id);

-- The Space that holds the owner's place, also after the owner left it.
CREATE VIEW user_meta (matrix_user_id, space_id) AS
    SELECT
        matrix_user_id,
        coalesce(min(CASE WHEN status <> 'detached' THEN room_id END), min(room_id))
    FROM room_meta
    WHERE room_type = 'space'
        AND matrix_user_id IS NOT NULL
        AND (status <> 'detached' OR reason IN ('owner_left', 'owner_banned'))
    GROUP BY matrix_user_id;

CREATE VIEW chats (platform_chat_id, matrix_user_id, chat_id, room_id) AS
    SELECT platform_chat_id, matrix_user_id, chat_id, room_id
    FROM room_meta
    WHERE room_type = 'chat'
        AND coalesce(reason, '') NOT IN ('upgraded', 'duplicate');
