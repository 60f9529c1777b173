"""Who cannot prove to be the server that was asked for hears nothing at all."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from nio import AsyncClient

from adapter.cli.errors import CommandError
from adapter.cli.password import log_in
from adapter.matrix.errors import Unreachable, WireError
from adapter.matrix.wire import Wire
from adapter.platform.base import PlatformError, Turn
from adapter.platform.http import http

HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"
WORD = "apricot"


async def ask_homeserver(url: str) -> None:
    client = AsyncClient(url)
    client.access_token = WORD
    try:
        await Wire(client, patience=0.0).create_room({})
    finally:
        await client.close()  # type: ignore[no-untyped-call]


async def log_in_to(url: str) -> None:
    await log_in(url, "@bot:hs.test", WORD, None)


async def ask_platform(url: str) -> None:
    async with http(url, WORD) as platform:
        await platform.answer(Turn("p", "@alice:hs", "!r", "$e", WORD))


CALLS: dict[str, Callable[[str], Awaitable[None]]] = {
    "homeserver": ask_homeserver,
    "login": log_in_to,
    "platform": ask_platform,
}


@dataclass
class Impostor:
    """Listens here, and answers whoever speaks to it."""

    url: str
    certificate: Path
    heard: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def impostor(folder: Path, name: str) -> AsyncIterator[Impostor]:
    """Somebody with a certificate for `name`, signed by themselves."""
    certificate = folder / "certificate.pem"
    certificate.write_bytes(signed_by_itself(name))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    one = Impostor("", certificate)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        one.heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 418 No\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, HERE, 0, ssl=context) as listening:
        one.url = f"https://{HERE}:{listening.sockets[0].getsockname()[1]}"
        yield one


def trust(one: Impostor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whoever vouches for this one be the only one that is believed."""
    trusted = ssl.create_default_context(cafile=one.certificate)
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusted)


def signed_by_itself(name: str) -> bytes:
    """A key and its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))])
    certificate = (
        x509.CertificateBuilder(who, who, key.public_key())
        .serial_number(1)
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(alternative, critical=False)
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("name", CALLS)
async def test_a_certificate_of_nobody(name: str, tmp_path: Path) -> None:
    """Signed by nobody who is trusted: neither a token, a password nor a word is sent."""
    async with impostor(tmp_path, HERE) as one:
        with pytest.raises((WireError, PlatformError), match="certificate") as caught:
            await CALLS[name](one.url)
    assert one.heard == []
    if name == "homeserver":
        assert isinstance(caught.value, Unreachable)
        assert not caught.value.sent


@pytest.mark.parametrize("name", CALLS)
async def test_a_certificate_of_somebody_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trusted one has to be that of the name that was asked for."""
    async with impostor(tmp_path, ELSEWHERE) as one:
        trust(one, monkeypatch)
        with pytest.raises((WireError, PlatformError), match="certificate"):
            await CALLS[name](one.url)
    assert one.heard == []


@pytest.mark.parametrize("name", CALLS)
async def test_a_certificate_of_their_own(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else is asked of a server: whoever proves who they are is spoken to."""
    async with impostor(tmp_path, HERE) as one:
        trust(one, monkeypatch)
        with pytest.raises((WireError, PlatformError, CommandError), match="418"):
            await CALLS[name](one.url)
    assert len(one.heard) == 1
