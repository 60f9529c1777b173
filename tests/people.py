"""People who talk to the bot, and who notice what it should not have said.

alice = Person(person)
room = await alice.direct(bot)
await alice.say(room, "hello")
[answer] = await alice.hears(room)
assert (answer["msgtype"], answer["body"]) == ("m.text", "1: hello")
await alice.silence(room, until=process.terminate())
"""

from __future__ import annotations

from collections.abc import Awaitable

from adapter.cli import people
from adapter.cli.people import told

__all__ = ["Person"]


class Person(people.Person):
    """A person of the demo, who can also tell that nothing was said."""

    async def silence(self, room: str, *, until: Awaitable[object]) -> None:
        """Nobody else says anything that is not yet heard here until `until` is over.

        `until` has to prove that the bot is done: its end, or an exchange in the same
        room, where it answers in order. An exchange elsewhere proves nothing."""
        await until
        # The very first answer may be one of two minutes ago.
        for _ in range(2):
            await self.look()
        said = [event for _, event in self.unheard(room, None)]
        assert not said, told(room, 0, said)
