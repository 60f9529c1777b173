"""What goes wrong between a bot and its homeserver, on purpose.

`kinds` is what can become of a request, `proxy` is where that happens. Nothing here
knows which bot it is.
"""

from tests.faults.kinds import (
    Action,
    After,
    Answer,
    Before,
    ConnectionClosed,
    Drop,
    Exchange,
    Fault,
    Hang,
    Refuse,
    Reply,
    Seen,
)
from tests.faults.proxy import Proxy

__all__ = [
    "Action",
    "After",
    "Answer",
    "Before",
    "ConnectionClosed",
    "Drop",
    "Exchange",
    "Fault",
    "Hang",
    "Proxy",
    "Refuse",
    "Reply",
    "Seen",
]
