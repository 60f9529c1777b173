"""Log lines on stderr: for people, or one JSON object a line for programs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from adapter.plain_text import escaped, hidden
from controller.current import current_pass

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


@contextmanager
def to_stderr(
    style: str = "plain",
    *,
    level: int = logging.WARNING,
    times: bool = False,
    secrets: Sequence[str] = (),
) -> Iterator[None]:
    """Send what is logged to stderr while the context lasts.

    `style` is `plain` or `json`; `times` puts the time before plain lines, as a
    process that runs for long needs. Names that people typed cannot break a line.
    `secrets` may grow meanwhile; none of them is ever shown."""
    handler = _Stderr(secrets)
    handler.setFormatter(_json() if style == "json" else _Plain(times))
    root, before = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(level)
    # It warns of what it does not know, which is what the wire layer is for.
    nio = logging.getLogger("nio")
    nio_before = nio.level
    nio.setLevel(logging.CRITICAL)
    # It tells of each retry in words of its own; the last error says it all.
    retries = logging.getLogger("stamina")
    retries_before = retries.level
    retries.setLevel(logging.ERROR)
    try:
        yield
    finally:
        nio.setLevel(nio_before)
        retries.setLevel(retries_before)
        root.setLevel(before)
        root.removeHandler(handler)


class _Stderr(logging.Handler):
    """Looks stderr up for each line: tests and callers replace it."""

    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__()
        self._secrets = secrets

    def emit(self, record: logging.LogRecord) -> None:
        if number := current_pass.get():
            vars(record)["pass"] = number
        try:
            click.echo(hidden(self.format(record), self._secrets), err=True)
        except Exception:  # noqa: BLE001 - a log line never stops the work
            self.handleError(record)


class _Plain(logging.Formatter):
    """`warning: message  key=value`; what stands in `extra` follows the message."""

    def __init__(self, times: bool) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%S%z")
        self._times = times

    def format(self, record: logging.LogRecord) -> str:
        extra = [
            f"{name}={value}"
            for name, value in vars(record).items()
            if name not in _STANDARD
        ]
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        line = escaped("  ".join([text, *extra]))
        if self._times:
            line = f"{self.formatTime(record, self.datefmt)} {line}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n  {escaped(part)}" for part in trace.split("\n"))
        return line


def _json() -> logging.Formatter:
    # Not at the top: only who asks for it needs it.
    from pythonjsonlogger.json import JsonFormatter

    return JsonFormatter(
        "%(asctime)s %(levelname)s %(name)s %(message)s",
        rename_fields={"asctime": "at", "levelname": "level", "name": "logger"},
        datefmt="%Y-%m-%dT%H:%M:%S%z",
        json_ensure_ascii=True,
    )
