"""What `status` says of a pass, as conditions: pure.

Observed    Matrix was looked at
Converged   the cache says what Matrix says
Published   Matrix says of the bot's rooms all that it should
"""

from __future__ import annotations

from collections.abc import Iterable

from adapter.matrix.decision import Pass
from controller.apply import Report, Result
from controller.conditions import Condition


def observed(decided: Pass) -> Condition:
    """Matrix was looked at as a whole; single rooms may have refused to show themselves."""
    at, vain = decided.observed_at, len(decided.want.unknown) - decided.want.waiting
    if vain:
        message = f"all rooms were looked at, {vain} of them in vain"
        return Condition("Observed", "True", "RoomsUnknown", message, at)
    return Condition("Observed", "True", "Complete", "all rooms were looked at", at)


def is_observed(conditions: Iterable[Condition]) -> bool:
    """Whether Matrix was looked at, by what was said last; then that still stands after
    a pass that found nothing changed."""
    return any(one.type == "Observed" and one.status == "True" for one in conditions)


def unchanged(at: int) -> Condition:
    message = "nothing has changed since all rooms were looked at"
    return Condition("Observed", "True", "Complete", message, at)


def unobserved(error: Exception, at: int) -> Condition:
    return Condition("Observed", "False", type(error).__name__, str(error), at)


def converged(decided: Pass, report: Report) -> Condition:
    """Whether the cache says what Matrix says."""
    at = decided.observed_at
    if report.plan.blocked:
        message = (
            f"{len(report.plan.blocked)} changes would give up more rooms at once than "
            "the guard lets through; look at `spacekeeper plan`, then let them through "
            "with --allow-detach, of `run` or of `reconcile`"
        )
        return Condition("Converged", "False", "Blocked", message, at)
    if report.failed:
        return Condition("Converged", "False", "Failed", report.failed[0].detail, at)
    if report.counts[Result.STALE]:
        message = "rows changed during the pass; the next one looks again"
        return Condition("Converged", "False", "Stale", message, at)
    if decided.want.waiting:
        message = f"{decided.want.waiting} rooms wait until every room can be read"
        return Condition("Converged", "False", "Waiting", message, at)
    return Condition(
        "Converged", "True", "InSync", "the cache says what Matrix says", at
    )


def published(report: Report, at: int) -> Condition:
    """Whether Matrix says of the bot's rooms all that it should."""
    if report.failed:
        return Condition("Published", "False", "Failed", report.failed[0].detail, at)
    waiting = report.counts[Result.WAITING] + report.counts[Result.STALE]
    if waiting:
        message = f"{waiting} state events are left to later passes"
        return Condition("Published", "False", "Waiting", message, at)
    return Condition("Published", "True", "Done", "nothing is due", at)
