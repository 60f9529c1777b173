"""What can go wrong between the product and the homeserver, by who can act.

    WireError
    ├── Unreachable          the network or the server: it is worth trying again
    ├── RateLimited          nobody: wait `retry_after` seconds
    ├── ServerFault          the server's administrator (5xx)
    ├── NotAHomeserver       whoever wrote the address, or runs the proxy on it
    ├── TokenRefused         whoever wrote the access token
    ├── Answered
    │   ├── Forbidden        whoever has power in the room (403)
    │   ├── NotFound         nobody: it is not there (404)
    │   └── Unexpected       the server's authors, or ours: an answer against the spec
    └── ObservationFailed    see `observation`: answers that do not fit together
        └── WrongToken       whoever wrote the access token

The sentence of each says what happened and what to do. None holds the access token,
in any of its texts or its chain of causes: what a library says of a request can hold
the request's headers, so the errors of libraries are named here, never chained.
"""

# ruff: noqa: N818 - the names say what happened; that it is an error, the tree says

from __future__ import annotations

from typing import Final


class WireError(Exception):
    """The homeserver did not do what was asked of it, as far as anybody can know.

    `status` is 0 where there was no answer; `errcode` is "" where the answer was no
    Matrix error; `brief` is a word for lists: "503", "timeout"."""

    advice = ""
    """What to do, as a clause that ends the sentence."""

    def __init__(
        self, what: str, *, status: int = 0, errcode: str = "", brief: str = ""
    ) -> None:
        super().__init__(f"{what}: {self.advice}" if self.advice else what)
        self.status = status
        self.errcode = errcode
        self.brief = brief or (str(status) if status else "failed")

    @property
    def is_refusal(self) -> bool:
        """Whether the server has decided: asked again, it would say the same.

        What is no refusal says nothing of what was asked: a write may have happened."""
        return False


class Unreachable(WireError):
    """No whole answer came: refused, timed out, reset or cut.

    A write may have happened if it was `sent`. It certainly was not where no connection
    came about: refused, no such name, no trust in the certificate."""

    advice = (
        "check the homeserver's address, and that the server runs; "
        "it is worth trying again"
    )

    def __init__(
        self, what: str, *, status: int = 0, brief: str = "", sent: bool = True
    ) -> None:
        super().__init__(what, status=status, brief=brief)
        self.sent = sent


class RateLimited(WireError):
    """The server wants us to wait `retry_after` seconds. Nothing was done."""

    advice = "wait that long, or ask the server's administrator to lift the limits"

    def __init__(
        self, what: str, *, retry_after: float, status: int = 429, errcode: str = ""
    ) -> None:
        super().__init__(what, status=status, errcode=errcode, brief="429")
        self.retry_after = retry_after


class ServerFault(WireError):
    """The server, or a proxy in front of it, failed. A write may have happened."""

    advice = "the server's log says why; it is worth trying again"


class NotAHomeserver(WireError):
    """Something answered that does not speak the Matrix protocol."""

    advice = "check the homeserver's address, and any proxy in front of it"


class TokenRefused(WireError):
    """The access token is not, or no longer, good. With `soft_logout` the device is."""

    advice = (
        "run `spacekeeper login`, or put a valid `access_token` in the configuration"
    )

    def __init__(
        self, what: str, *, status: int, errcode: str, soft_logout: bool = False
    ) -> None:
        super().__init__(what, status=status, errcode=errcode)
        self.soft_logout = soft_logout


class Answered(WireError):
    """The server's own words, or what should be: a 4xx among them is its decision."""

    @property
    def is_refusal(self) -> bool:
        return 400 <= self.status < 500


class Forbidden(Answered):
    """The server understood and refuses. Nothing was done."""

    advice = "look at the bot's membership and power level in the room"


class NotFound(Answered):
    """The server knows no such thing."""

    advice = "look whether the room or the user still exists"


class Unexpected(Answered):
    """An answer that the specification does not provide for.

    It is a refusal that nobody foresaw, or a success that cannot be read."""

    advice = "look at the server's log, and at the versions of server and product"


class ObservationFailed(WireError):
    """Every answer came, but together they do not show the world as it is."""

    advice = "nothing was changed; it will be looked at again"


class WrongToken(ObservationFailed):
    """The access token belongs to another account than the configured one."""

    advice = "correct `user_id` or `access_token` in the configuration"


ACCOUNT_WIDE: Final = (TokenRefused, RateLimited)
"""Whatever else the account asks for, it would be told the same."""
SERVER_WIDE: Final = (*ACCOUNT_WIDE, Unreachable)
"""In whatever other way somebody asks, they would fare no better."""
