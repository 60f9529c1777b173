-- A room that the bot is out of may have given its place to another of the same chat.
DROP VIEW chats;

CREATE VIEW chats (platform_chat_id, matrix_user_id, chat_id, room_id) AS
    SELECT platform_chat_id, matrix_user_id, chat_id, room_id
    FROM (
        SELECT *, row_number() OVER (
            PARTITION BY coalesce(platform_chat_id, room_id)
            ORDER BY
                status = 'detached',
                coalesce(reason, '') NOT IN ('owner_left', 'owner_banned', 'unlinked'),
                room_id
        ) AS place
        FROM room_meta
        WHERE room_type = 'chat'
            AND coalesce(reason, '') NOT IN ('upgraded', 'duplicate')
    )
    WHERE place = 1;
