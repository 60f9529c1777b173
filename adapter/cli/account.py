"""A person's Matrix account, in plain HTTP: what the demo and the tests judge by.

It shares no code with the bot's own wire layer and knows no matrix-nio, so that a
mistake made there cannot be made here a second time.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

import aiohttp
from yarl import URL

Json = dict[str, Any]

_ENOUGH = aiohttp.ClientTimeout(total=120)


class CallFailed(Exception):  # noqa: N818 - it says what happened, not whose fault it is
    """The homeserver answered with something other than 2xx.

    `errcode` is empty where the answer was not a Matrix error, as from a proxy.
    """

    def __init__(self, status: int, errcode: str, text: str) -> None:
        super().__init__(status, errcode, text)
        self.status = status
        self.errcode = errcode
        self.text = text

    def __str__(self) -> str:
        return f"{self.status} {self.errcode} {self.text}".replace("  ", " ")


@dataclass(frozen=True, slots=True)
class Login:
    """One device of one account. The token is kept out of `repr`, hence out of logs."""

    user_id: str
    access_token: str = field(repr=False)
    device_id: str


@asynccontextmanager
async def http_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session that any number of accounts may share."""
    async with aiohttp.ClientSession(timeout=_ENOUGH) as session:
        yield session


async def call(  # noqa: PLR0913 - what a request is made of
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    token: str | None = None,
    body: object = None,
    query: Mapping[str, str | int] | None = None,
) -> Json:
    """Make one request, once, and return the JSON object of a 2xx answer.

    `url` is sent as it is: its parts have to be quoted already. Nothing is retried.
    """
    async with session.request(
        method,
        URL(url, encoded=True),
        json=body,
        params=query,
        headers={"Authorization": f"Bearer {token}"} if token else None,
    ) as response:
        text = await response.text(errors="replace")
        if response.status // 100 == 2:
            answer: Json = await response.json(content_type=None)
            return answer
        errcode, error = "", text
        if response.content_type == "application/json":
            problem: Json = await response.json()
            errcode = problem.get("errcode", "")
            error = problem.get("error", text)
        raise CallFailed(response.status, errcode, error)


def _path(*parts: str) -> str:
    return "/".join(quote(part, safe="") for part in parts)


@dataclass(frozen=True, slots=True)
class Account:
    """What one person can do. Every method raises `CallFailed` on a refusal."""

    url: str
    login: Login
    session: aiohttp.ClientSession = field(repr=False)

    @property
    def user_id(self) -> str:
        return self.login.user_id

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        **query: str | int,
    ) -> Json:
        """Call `path`, below `/_matrix/client/v3/`, whose parts are quoted already."""
        return await call(
            self.session,
            method,
            f"{self.url}/_matrix/client/v3/{path}",
            token=self.login.access_token,
            body=body,
            query=query,
        )

    # Rooms

    async def create_room(  # noqa: PLR0913 - the request has as many fields
        self,
        *,
        version: str | None = None,
        creation_content: Json | None = None,
        room_type: str | None = None,
        name: str | None = None,
        preset: str = "private_chat",
        invite: Sequence[str] = (),
        initial_state: Sequence[Json] = (),
        power_levels: Json | None = None,
        **more: object,
    ) -> str:
        """Create a room and return its id; `more` goes into the request as it is."""
        content = dict(creation_content or {})
        if room_type is not None:
            content["type"] = room_type
        given = {
            "room_version": version,
            "creation_content": content,
            "name": name,
            "preset": preset,
            "invite": list(invite),
            "initial_state": list(initial_state),
            "power_level_content_override": power_levels,
        }
        body = {key: value for key, value in given.items() if value} | more
        room: str = (await self.call("POST", "createRoom", body))["room_id"]
        return room

    async def upgrade(self, room: str, version: str) -> str:
        """Replace the room by one of another version and return the new room's id."""
        path = _path("rooms", room, "upgrade")
        answer = await self.call("POST", path, {"new_version": version})
        new: str = answer["replacement_room"]
        return new

    async def direct(self, user_id: str, **more: Any) -> str:
        """Start a direct chat as Element does, and return its room.

        `more` is for `create_room`; the other account still has to join."""
        room = await self.create_room(
            preset="trusted_private_chat", invite=[user_id], is_direct=True, **more
        )
        try:
            known = await self.account_data("m.direct")
        except CallFailed as refused:
            if refused.status != 404:
                raise
            known = {}
        await self.put_account_data(
            "m.direct", known | {user_id: [*known.get(user_id, []), room]}
        )
        return room

    async def joined_rooms(self) -> list[str]:
        rooms: list[str] = (await self.call("GET", "joined_rooms"))["joined_rooms"]
        return rooms

    # Members

    async def invite(self, room: str, user_id: str) -> None:
        await self.call("POST", _path("rooms", room, "invite"), {"user_id": user_id})

    async def kick(self, room: str, user_id: str) -> None:
        await self.call("POST", _path("rooms", room, "kick"), {"user_id": user_id})

    async def ban(self, room: str, user_id: str) -> None:
        await self.call("POST", _path("rooms", room, "ban"), {"user_id": user_id})

    async def unban(self, room: str, user_id: str) -> None:
        await self.call("POST", _path("rooms", room, "unban"), {"user_id": user_id})

    async def join(self, room: str) -> None:
        await self.call("POST", _path("rooms", room, "join"), {})

    async def leave(self, room: str) -> None:
        """Leave the room, or decline the invitation to it."""
        await self.call("POST", _path("rooms", room, "leave"), {})

    async def forget(self, room: str) -> None:
        await self.call("POST", _path("rooms", room, "forget"), {})

    # State

    async def put_state(
        self, room: str, event_type: str, content: Json, state_key: str = ""
    ) -> str:
        """Set a state event and return its id, which is the old one if nothing changes."""
        path = _path("rooms", room, "state", event_type, state_key)
        event: str = (await self.call("PUT", path, content))["event_id"]
        return event

    async def state(self, room: str) -> list[Json]:
        """Return the whole current state; after leaving, the state as it was then."""
        # The only call whose answer is a list.
        events: Any = await self.call("GET", _path("rooms", room, "state"))
        return list(events)

    async def state_event(
        self,
        room: str,
        event_type: str,
        state_key: str = "",
        *,
        format: Literal["event", "content"] = "event",  # noqa: A002 - the API's word
    ) -> Json:
        """Return one state event with its sender, or just its content."""
        path = _path("rooms", room, "state", event_type, state_key)
        return await self.call("GET", path, format=format)

    async def set_power(self, room: str, levels: Mapping[str, int]) -> str:
        """Give these users these power levels and leave all others as they are."""
        event_type = "m.room.power_levels"
        content = await self.state_event(room, event_type, format="content")
        content["users"] = content.get("users", {}) | levels
        return await self.put_state(room, event_type, content)

    async def link(
        self,
        space: str,
        room: str,
        *,
        via: Sequence[str] | None = None,
        order: str | None = None,
        suggested: bool | None = None,
    ) -> str:
        """Make the room a child of the Space; `via` defaults to this account's server."""
        servers = [self.user_id.partition(":")[2]] if via is None else list(via)
        given = {"via": servers, "order": order, "suggested": suggested}
        content = {key: value for key, value in given.items() if value is not None}
        return await self.put_state(space, "m.space.child", content, room)

    async def unlink(self, space: str, room: str) -> str:
        """Empty the child event, which is how clients take a room out of a Space."""
        return await self.put_state(space, "m.space.child", {}, room)

    # Messages

    async def send(
        self,
        room: str,
        text: str,
        *,
        msgtype: str = "m.text",
        relates_to: Json | None = None,
        txn: str | None = None,
    ) -> str:
        """Send a message and return its event id; the same `txn` sends it only once."""
        content: Json = {"msgtype": msgtype, "body": text}
        if relates_to is not None:
            content["m.relates_to"] = relates_to
        path = _path("rooms", room, "send", "m.room.message", txn or uuid.uuid4().hex)
        event: str = (await self.call("PUT", path, content))["event_id"]
        return event

    async def redact(self, room: str, event_id: str) -> str:
        """Redact the event and return the id of the redaction."""
        path = _path("rooms", room, "redact", event_id, uuid.uuid4().hex)
        event: str = (await self.call("PUT", path, {}))["event_id"]
        return event

    async def messages(self, room: str, limit: int = 50) -> list[Json]:
        """Return the newest events of the room, state events too, newest first."""
        path = _path("rooms", room, "messages")
        events: list[Json] = (await self.call("GET", path, dir="b", limit=limit))[
            "chunk"
        ]
        return events

    # What happens

    async def sync(
        self,
        since: str | None = None,
        *,
        wait_ms: int = 0,
        sync_filter: Mapping[str, object] | None = None,
    ) -> Json:
        """Return what happened since the `next_batch` of an earlier answer.

        It is waited for up to `wait_ms` milliseconds. Without `since` the answer comes
        at once and is how things stand; Synapse may repeat it for two minutes."""
        given = {
            "since": since,
            "timeout": wait_ms,
            "filter": json.dumps(sync_filter) if sync_filter else None,
        }
        query = {key: value for key, value in given.items() if value is not None}
        return await self.call("GET", "sync", **query)

    # Account data

    async def account_data(self, event_type: str) -> Json:
        """Return the content of this account's global account data."""
        return await self.call(
            "GET", _path("user", self.user_id, "account_data", event_type)
        )

    async def put_account_data(self, event_type: str, content: Json) -> None:
        """Replace the content of this account's global account data."""
        path = _path("user", self.user_id, "account_data", event_type)
        await self.call("PUT", path, content)
