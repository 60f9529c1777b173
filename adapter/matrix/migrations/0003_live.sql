-- How far the running bot came, and what it must not do twice. All times are in ms.

-- The newest token before which every event was handled; account data has it, too.
CREATE TABLE position (
    only INTEGER PRIMARY KEY NOT NULL CHECK (only = 1),
    n INTEGER NOT NULL CHECK (typeof(n) = 'integer' AND n > 0),
    token TEXT NOT NULL CHECK (typeof(token) = 'text' AND token <> ''),
    instance TEXT NOT NULL CHECK (typeof(instance) = 'text' AND instance <> '')
);

-- Rooms that were asked for and are not bound yet.
CREATE TABLE intents (
    request TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('space', 'chat')),
    owner TEXT NOT NULL,
    chat_id TEXT,
    platform_chat_id TEXT,
    asked TEXT NOT NULL,    -- the id of the event that asked
    sent_at INTEGER NOT NULL CHECK (typeof(sent_at) = 'integer'),
    ended_at INTEGER    -- NULL while nobody knows that the request is over
        CHECK (typeof(ended_at) IN ('integer', 'null'))
) WITHOUT ROWID;

-- State events that the bot's own commands wrote: no guard counts what follows from them.
CREATE TABLE commanded (
    event_id TEXT PRIMARY KEY NOT NULL,
    at INTEGER NOT NULL CHECK (typeof(at) = 'integer')
) WITHOUT ROWID;

-- When a line of a kind was last said in a room.
CREATE TABLE said (
    room_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    at INTEGER NOT NULL CHECK (typeof(at) = 'integer'),
    PRIMARY KEY (room_id, kind)
) WITHOUT ROWID;
