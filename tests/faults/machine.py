"""A hypothesis machine that lets people do whatever they like to a bot on a real server.

    class Tenants(Machine):
        async def begin(self, chance): ...    # make self.world and self.bot, start the bot
        async def judge(self, told): ...      # what else must hold after each move

    walk(Tenants, worlds=5, steps=22)

After each move the bot catches up, and what it kept live has to be what it would make
anew of what the server shows. Worlds are cheap: each has accounts of its own on a server
that all share, and a loop of its own, in which the bot may live beside the moves. Between
two moves the loop rests. A failure prints the moves that led to it; hypothesis makes them
once more, and where they lead elsewhere this time, the failure of the first time is told.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from random import Random
from typing import Any, ClassVar, Final, Protocol, TypeVar, cast

from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from tests.faults.moves import MOVES, Move, World, chosen

T = TypeVar("T")

Rows = Mapping[str, Mapping[str, Any]]
"""What a bot keeps, by room."""

NUMBER: Final = st.integers(0, 9999)
"""Chooses within a move."""
PATIENCE: Final = 20.0
"""Seconds in which a bot has to have caught up."""


class Bot(Protocol):
    """The bot under test."""

    async def start(self) -> None:
        """Return when it handles what happens."""

    async def stop(self) -> None:
        """Return when it has ended in order; also of one that does not run."""

    async def settle(self) -> None:
        """Return when it has seen all that was done before; raise if it has ended."""

    async def live(self) -> Rows:
        """What it keeps now."""

    async def cold(self) -> Rows:
        """What it would keep if it were started now without its memory."""

    async def unlike(self, live: Rows, cold: Rows) -> Mapping[str, object]:
        """What differs by room, but for what only a memory can know."""


class Machine(RuleBasedStateMachine):
    """Moves of people and of the bot's account; what must hold is left to subclasses."""

    taken: ClassVar[Counter[str]] = Counter()
    """How many moves of each kind were made, in all worlds; those in Spaces apart."""

    world: World
    bot: Bot
    runs = False
    """Whether the bot runs. While it does not, nothing is checked."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.failure: Exception | None = None
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)

    def teardown(self) -> None:
        with self._runner:
            self.run(self.end())

    # For subclasses

    async def begin(self, chance: Random) -> None:
        """Make a world and a bot, and start it."""
        raise NotImplementedError

    async def follow(self, chance: Random) -> None:
        """What people do at once after a move, before the bot can have caught up."""

    async def judge(self) -> None:
        """Assert whatever else must hold when the bot has caught up with a move."""

    async def end(self) -> None:
        """Stop the bot; also in a world that never began."""
        if self.runs:
            await self.bot.stop()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._runner.run(work)
        except Exception as failure:
            # What fails after it, as the world ends, may only follow from it.
            self.failure = self.failure or failure
            raise

    def move(self, move: Move, number: int) -> None:
        """Make the move, if anybody can, and check what came of it."""
        self.run(self._move(move, chosen(number)))

    # What is done after each

    async def _move(self, move: Move, chance: Random) -> None:
        told = await move(self.world, chance)
        if told is None:
            return
        where = " in a Space" if " in space " in told else ""
        self.taken[move.__name__ + where] += 1
        self.told.append(told)
        note(f"{len(self.told)}. {told}")
        await self.follow(chance)
        if self.runs:
            await self.bot.settle()
            await self._alike()
            await self.judge()
            await self.world.look_around()

    async def _alike(self) -> None:
        """What is kept live is what a cold start makes, as soon as it is caught up."""
        live: Rows = {}
        differs: Mapping[str, object] = {}
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    live = await self.bot.live()
                    differs = await self.bot.unlike(live, await self.bot.cold())
                    if not differs and live == await self.bot.live():
                        return
        except TimeoutError as exc:
            lines = [f"{self.world.called(r)} {r}: {d}" for r, d in differs.items()]
            msg = "live is not cold:\n  " + "\n  ".join(lines)
            raise AssertionError(msg) from exc

    # Moves

    @initialize(number=NUMBER)
    def first(self, number: int) -> None:
        self.run(self.begin(chosen(number)))


def _rule_of(kind: str, move: Move) -> Callable[..., None]:
    def does(self: Machine, number: int) -> None:
        self.move(move, number)

    does.__name__ = f"somebody_does_{kind}"
    return rule(number=NUMBER)(does)


# Each is a rule: hypothesis takes all rules alike, and in each world does without some.
for _kind, _move in MOVES.items():
    _rule = _rule_of(_kind, _move)
    setattr(Machine, _rule.__name__, _rule)


def walk(
    machine: Callable[[], Machine], *, worlds: int, steps: int, derandomize: bool
) -> None:
    """Take up to `steps` moves in each of `worlds`, the same each time if asked so."""
    made: list[Machine] = []

    def make() -> Machine:
        made.append(machine())
        return made[-1]

    try:
        run_state_machine_as_test(  # it takes whatever makes one, whatever its type says
            cast("type[Machine]", make),
            settings=settings(
                max_examples=worlds,
                stateful_step_count=steps,
                derandomize=derandomize,
                database=None,
                deadline=None,
                # A world takes seconds: what it has to tell are its moves, shorter or not.
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
    except Flaky as flaky:
        # A server and a bot have a time of their own: the same moves may end otherwise.
        for one in made:
            if one.failure is not None:
                one.failure.add_note("\n".join(one.told))
                raise one.failure from flaky
        raise
