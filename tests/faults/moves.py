"""What anybody can do to a room, each as one move that a number chooses.

    told = await leave(world, chosen(7))         # "alice leaves room 3", or `None`

A move looks at a room as it is now, picks something that Matrix allows there, and does
it; what nobody can do, because of what was done before, is no move. Nothing here knows
what the bot makes of it: rooms are whatever the bot's account is, or was, in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final

from adapter.cli.account import Account, CallFailed, Json

SPACE: Final = "m.space"
CHILD: Final = "m.space.child"
MEMBER: Final = "m.room.member"
POWER: Final = "m.room.power_levels"
TOMBSTONE: Final = "m.room.tombstone"
NAME: Final = "m.room.name"
VERSIONS: Final = ("10", "11", "12")
CREATORS_RULE: Final = {"12"}
"""Versions in which nobody can throw out who made the room."""

_TRIES: Final = 8

State = Mapping[tuple[str, str], Json]
"""(type, state key) -> event."""


@dataclass
class World:
    """A bot's account, people, and every room that they ever did something in."""

    bot: Account
    people: list[Account]
    rooms: list[str] = field(default_factory=list)
    """In the order in which they came to be known: ids are different each time."""
    touched: str = ""
    """The room of the newest move."""
    beloved: set[str] = field(default_factory=set)
    """Rooms that nobody touches."""
    spaces: set[str] = field(default_factory=set)
    """Those of `rooms` that are Spaces."""

    async def look_around(self) -> None:
        """Get to know the rooms that the bot came into meanwhile, the oldest first."""
        new = {*await self.bot.joined_rooms()} - {*self.rooms} - self.beloved
        made = [(await self._made(room), room) for room in new]
        for _, room in sorted(made, key=lambda one: one[0]["origin_server_ts"]):
            await self.know(room)

    async def know(self, room: str) -> None:
        """Have a room that the bot is in take part from now on."""
        if room not in self.rooms:
            self.rooms.append(room)
            if (await self._made(room))["content"].get("type") == SPACE:
                self.spaces.add(room)

    async def _made(self, room: str) -> Json:
        return await self.bot.state_event(room, "m.room.create")

    def called(self, room: str) -> str:
        """What a story calls the room; ids say nothing."""
        kind = "space" if room in self.spaces else "room"
        return f"{kind} {self.rooms.index(room)}" if room in self.rooms else room

    async def views(
        self, chance: Random, rooms: Collection[str] | None = None
    ) -> AsyncIterator[View]:
        """Some rooms in an order of chance, each as somebody in it sees it."""
        known = [room for room in self.rooms if rooms is None or room in rooms]
        for room in chance.sample(known, min(len(known), _TRIES)):
            view = await self._view(room)
            if view is not None:
                yield view

    async def _view(self, room: str) -> View | None:
        for account in (self.bot, *self.people):
            try:
                events = await account.state(room)
            except CallFailed:
                continue
            state = {(one["type"], one["state_key"]): one for one in events}
            member = state.get((MEMBER, account.user_id))
            if member and member["content"].get("membership") == "join":
                return View(self, room, state)
        return None


@dataclass
class View:
    """One room as it is now."""

    world: World
    room: str
    state: State

    def content(self, event_type: str, key: str = "") -> Json:
        event = self.state.get((event_type, key))
        return event["content"] if event else {}

    def membership(self, who: Account) -> str | None:
        return self.content(MEMBER, who.user_id).get("membership")

    def people(self, *memberships: str | None) -> list[Account]:
        return [one for one in self.world.people if self.membership(one) in memberships]

    @property
    def has_bot(self) -> bool:
        return self.membership(self.world.bot) == "join"

    @property
    def version(self) -> str:
        found: str = self.content("m.room.create").get("room_version", "1")
        return found

    def level(self, who: Account) -> int:
        levels = self.content(POWER)
        created = self.state["m.room.create", ""]["sender"] == who.user_id
        if created and self.version in CREATORS_RULE:
            return 1_000
        found: int = levels.get("users", {}).get(
            who.user_id, levels.get("users_default", 0)
        )
        return found

    def able(self, level: int = 50) -> list[Account]:
        """Who is in the room and has this power, the bot included."""
        return [
            one
            for one in (self.world.bot, *self.world.people)
            if self.membership(one) == "join" and self.level(one) >= level
        ]

    async def do(self, what: str, *calls: Awaitable[object]) -> str | None:
        """Make the calls, and say so; `None` if the server will not have it."""
        done = 0
        try:
            for call in calls:
                await call
                done += 1
        except CallFailed as refused:
            if refused.status not in {400, 403, 404}:
                raise
            if not done:
                return None
            what += f" (then: {refused})"
        finally:
            for call in calls[done:]:
                if hasattr(call, "close"):
                    call.close()
        self.world.touched = self.room
        return f"{what} in {self.world.called(self.room)}"


def chosen(number: int) -> Random:
    """The choices that a number stands for, within a move."""
    return Random(number)  # noqa: S311 - the same each time


def name(who: Account) -> str:
    return who.user_id[1:].partition(":")[0]


Move = Callable[[World, Random], Awaitable[str | None]]


# --- members --------------------------------------------------------------------------


async def join(world: World, chance: Random) -> str | None:
    """Somebody who is invited comes."""
    async for view in world.views(chance):
        for who in view.people("invite"):
            if told := await view.do(f"{name(who)} joins", who.join(view.room)):
                return told
    return None


async def leave(world: World, chance: Random) -> str | None:
    """Somebody leaves, or declines."""
    async for view in world.views(chance):
        if inside := view.people("join", "invite"):
            who = chance.choice(inside)
            return await view.do(f"{name(who)} leaves", who.leave(view.room))
    return None


async def invite(world: World, chance: Random) -> str | None:
    """Somebody is invited, by the bot's account or by a member; maybe a guest."""
    async for view in world.views(chance):
        outside, inside = view.people("leave", None), view.able(0)
        if outside and inside:
            who, by = chance.choice(outside), chance.choice(inside)
            told = f"{name(by)} invites {name(who)}"
            return await view.do(told, by.invite(view.room, who.user_id))
    return None


async def kick(world: World, chance: Random) -> str | None:
    """Somebody else than the bot is thrown out."""
    async for view in world.views(chance):
        inside, able = view.people("join", "invite"), view.able()
        if inside and able:
            who, by = chance.choice(inside), chance.choice(able)
            call = by.kick(view.room, who.user_id)
            if told := await view.do(f"{name(by)} kicks {name(who)}", call):
                return told
    return None


async def ban(world: World, chance: Random) -> str | None:
    """Somebody else than the bot is banned, whether or not they are there."""
    async for view in world.views(chance):
        others, able = view.people("join", "invite", "leave", None), view.able()
        if others and able:
            who, by = chance.choice(others), chance.choice(able)
            call = by.ban(view.room, who.user_id)
            if told := await view.do(f"{name(by)} bans {name(who)}", call):
                return told
    return None


async def unban(world: World, chance: Random) -> str | None:
    async for view in world.views(chance):
        banned, able = view.people("ban"), view.able()
        if banned and able:
            who, by = chance.choice(banned), chance.choice(able)
            call = by.unban(view.room, who.user_id)
            if told := await view.do(f"{name(by)} unbans {name(who)}", call):
                return told
    return None


# --- the bot's own membership ---------------------------------------------------------


async def throw_out(world: World, chance: Random) -> str | None:
    """The bot's account gives itself up to a member, who kicks or bans it."""
    async for view in world.views(chance):
        inside = view.people("join")
        if not (view.has_bot and inside) or view.version in CREATORS_RULE:
            continue
        bot, by = world.bot, chance.choice(inside)
        how, act = chance.choice((("kicks", by.kick), ("bans", by.ban)))
        calls: list[Awaitable[object]] = [act(view.room, bot.user_id)]
        if view.level(by) <= view.level(bot):
            levels = {by.user_id: 100, bot.user_id: 50}
            calls.insert(0, bot.set_power(view.room, levels))
        if told := await view.do(f"{name(by)} {how} the bot", *calls):
            return told
    return None


async def bot_leaves(world: World, chance: Random) -> str | None:
    """Somebody with the bot's token makes it leave a room where others stay."""
    async for view in world.views(chance):
        if view.has_bot and view.people("join"):
            return await view.do("the bot leaves", world.bot.leave(view.room))
    return None


async def take_back(world: World, chance: Random) -> str | None:
    """A member invites the bot into a room that it is out of."""
    async for view in world.views(chance):
        bot, inside = world.bot, view.people("join")
        if view.has_bot or not inside:
            continue
        by = max(inside, key=view.level)
        calls: list[Awaitable[object]] = [by.invite(view.room, bot.user_id)]
        if view.membership(bot) == "ban":
            calls.insert(0, by.unban(view.room, bot.user_id))
        if told := await view.do(f"{name(by)} takes the bot back", *calls):
            return told
    return None


async def grant(world: World, chance: Random) -> str | None:
    """The bot's account gives somebody power, or takes it."""
    async for view in world.views(chance):
        who, level = chance.choice(world.people), chance.choice((0, 50, 100))
        if world.bot in view.able(100) and view.level(who) < 100:
            call = world.bot.set_power(view.room, {who.user_id: level})
            if told := await view.do(f"{name(who)} has {level}", call):
                return told
    return None


# --- Spaces ---------------------------------------------------------------------------


async def link(world: World, chance: Random) -> str | None:
    """Some Space names some room, with an order or without."""
    return await _child(world, chance, _links)


async def unlink(world: World, chance: Random) -> str | None:
    """A child event is emptied, or says something that is no link."""
    return await _child(world, chance, _unlinks)


def _links(view: View, chance: Random) -> tuple[str, Json]:
    content: Json = {"via": [_server(view)]}
    if chance.random() < 0.3:
        content["order"] = chance.choice(("a", "b", 5))
    return chance.choice(view.world.rooms), content


def _unlinks(view: View, chance: Random) -> tuple[str, Json]:
    children = sorted(
        (key for kind, key in view.state if kind == CHILD and key in view.world.rooms),
        key=view.world.rooms.index,
    )
    child = chance.choice(children or view.world.rooms)
    return child, chance.choice(({}, {}, {}, {"via": []}, {"via": _server(view)}))


def _server(view: View) -> str:
    return view.world.bot.user_id.partition(":")[2]


async def _child(
    world: World,
    chance: Random,
    choose: Callable[[View, Random], tuple[str, Json]],
) -> str | None:
    async for view in world.views(chance, world.spaces):
        if able := view.able():
            by, (child, content) = chance.choice(able), choose(view, chance)
            if content == view.content(CHILD, child):
                continue
            told = f"{name(by)} says {content} of {world.called(child)}"
            if child in world.rooms:
                call = by.put_state(view.room, CHILD, content, child)
                if told_ := await view.do(told, call):
                    return told_
    return None


async def foreign_link(world: World, chance: Random) -> str | None:
    """Somebody makes a Space of their own, and names a room of the bot in it."""
    who, room = chance.choice(world.people), chance.choice(world.rooms)
    space = await who.create_room(room_type=SPACE)
    await who.link(space, room)
    world.touched = room
    return f"{name(who)} names {world.called(room)} in a Space of their own"


# --- state ----------------------------------------------------------------------------


async def redact(world: World, chance: Random) -> str | None:
    """A state event that may decide something is redacted; any kind as likely."""
    async for view in world.views(chance):
        kinds = sorted({kind for kind, _ in view.state if _may_decide(kind)})
        able = view.able()
        if not (kinds and able):
            continue
        by, chosen_kind = chance.choice(able), chance.choice(kinds)
        events = sorted(
            (event for (kind, _), event in view.state.items() if kind == chosen_kind),
            key=lambda event: int(event["origin_server_ts"]),
        )
        event = chance.choice(events)
        if not event["content"]:
            continue
        call = by.redact(view.room, event["event_id"])
        if told := await view.do(f"{name(by)} redacts the {chosen_kind}", call):
            return told
    return None


def _may_decide(kind: str) -> bool:
    """Whatever bots write of their own may decide as well."""
    known = {CHILD, MEMBER, NAME, TOMBSTONE, POWER}
    return kind in known or not kind.startswith("m.")


async def rename(world: World, chance: Random) -> str | None:
    async for view in world.views(chance):
        if able := view.able():
            by = chance.choice(able)
            content = {"name": chance.choice(("Plum", "Quince", "Rowan", ""))}
            if content == view.content(NAME):
                content = {"name": "Sloe"}
            call = by.put_state(view.room, NAME, content)
            if told := await view.do(f"{name(by)} names it {content['name']!r}", call):
                return told
    return None


async def upgrade(world: World, chance: Random) -> str | None:
    """The bot's account, or somebody with the power, replaces a room by a newer one."""
    async for view in world.views(chance):
        if view.content(TOMBSTONE):
            continue
        if able := view.able(100):
            # Synapse copies the levels, in which creators of version 12 do not stand: in
            # an older version the new room would be nobody's, and nothing could be done.
            versions = CREATORS_RULE if view.version in CREATORS_RULE else VERSIONS
            by, version = chance.choice(able), chance.choice(sorted(versions))
            call = by.upgrade(view.room, version)
            told = f"{name(by)} upgrades to {version}"
            if told_ := await view.do(told, call):
                return told_
    return None


async def tombstone(world: World, chance: Random) -> str | None:
    """Somebody says that a room goes on in some other room, which knows nothing of it."""
    async for view in world.views(chance):
        if able := view.able(100):
            by, other = chance.choice(able), chance.choice(world.rooms)
            content = {"replacement_room": other}
            call = by.put_state(view.room, TOMBSTONE, content)
            told = f"{name(by)} points to {world.called(other)}"
            if told_ := await view.do(told, call):
                return told_
    return None


MOVES: Final[Mapping[str, Move]] = {
    move.__name__: move
    for move in (
        join, leave, invite, kick, ban, unban,
        throw_out, bot_leaves, take_back, grant,
        link, unlink, foreign_link,
        redact, rename, upgrade, tombstone,
    )
}  # fmt: skip
