"""Publishing beside everything else: whatever the newest pass left due."""

from __future__ import annotations

import logging

from adapter.matrix.faults import DatabaseDamaged, StoreError
from adapter.matrix.following import Follower
from adapter.matrix.patience import reached
from adapter.matrix.publishing import Pace, Publisher
from adapter.matrix.reconciler import Reconciler, now
from adapter.matrix.traffic import Traffic
from controller.apply import Report, Result
from controller.model import Change

log = logging.getLogger(__name__)


async def publish_for_ever(
    reconciler: Reconciler, follower: Follower, traffic: Traffic
) -> None:
    """Publish after each pass what it left due, until a newer pass has decided.

    The server's limits are remembered as long as anything is due."""
    decided, rate = follower.decided, reconciler.settings.publish_rate
    pace = Pace(rate, patience=None)
    left = True  # until a round has told that nothing is due
    while True:
        await decided.wait()
        # What the last round published is read first, so that it is not due again.
        await reached(follower.catch_up)
        decided.clear()
        newest = follower.newest
        if newest is None or not newest.decided.publish.steps:
            pace = Pace(rate, patience=None)
            if newest is None or not left:
                continue
        target = Publisher(
            reconciler.wire,
            reconciler.store,
            pace,
            reconciler.types,
            now,
            traffic=traffic,
            outdated=decided.is_set,
            due=lambda step: _is_due(step, follower),
        )
        try:
            done = await reconciler.publish_to(target, newest)
        except DatabaseDamaged:
            raise
        except StoreError as error:
            # What it published shows itself; the rest is due at the next pass.
            log.warning("publishing broke off", extra={"error": str(error)})
        else:
            follower.revisit(_written(done.publish))
            left = done.publish.counts[Result.PUBLISHED] < len(done.publish.outcomes)


def _is_due(step: Change, follower: Follower) -> bool:
    """Whether the newest pass wants it: what stood back may have been done meanwhile."""
    if not follower.decided.is_set():
        return True
    newest = follower.newest
    return newest is not None and step in newest.decided.publish.steps


def _written(report: Report) -> set[str]:
    """The rooms that something was published in."""
    return {o.key.name for o in report.outcomes if o.result is Result.PUBLISHED}
