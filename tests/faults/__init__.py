"""What goes wrong between a bot and its homeserver, on purpose.

`kinds` is what can become of a request, `table` has the usual faults by name, `proxy` is
where they happen. Nothing here knows which bot it is.
"""

from tests.faults.kinds import (
    Action,
    After,
    Alter,
    Answer,
    Before,
    ConnectionClosed,
    Drop,
    Exchange,
    Fault,
    FirstTime,
    Hang,
    Late,
    Overdue,
    Refuse,
    Reply,
    Request,
    Rewrite,
    Seen,
    Stale,
    Together,
)
from tests.faults.proxy import Proxy
from tests.faults.table import FAULTS

__all__ = [
    "FAULTS",
    "Action",
    "After",
    "Alter",
    "Answer",
    "Before",
    "ConnectionClosed",
    "Drop",
    "Exchange",
    "Fault",
    "FirstTime",
    "Hang",
    "Late",
    "Overdue",
    "Proxy",
    "Refuse",
    "Reply",
    "Request",
    "Rewrite",
    "Seen",
    "Stale",
    "Together",
]
