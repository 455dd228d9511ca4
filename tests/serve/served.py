"""The whole server on a port, as `castor serve` puts it together, around an engine of a test."""

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from castor.serve.certificate import certificate
from castor.serve.run import whole
from castor.serve.service import Settings
from castor.serve.store import Store

from .fake_desk import FakeDesk
from .running import running


@contextmanager
def served(
    desk: FakeDesk, folder: Path, *, tls: bool = False, settings: Settings | None = None
) -> Iterator[str]:
    """The address of a server that keeps its things in the folder."""
    inside, runner = whole(desk, settings or Settings(), Store(folder))
    files = certificate(folder / "tls") if tls else None
    config = uvicorn.Config(
        inside,
        port=0,
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="websockets-sansio",
        ssl_certfile=files[0] if files else None,
        ssl_keyfile=files[1] if files else None,
    )

    async def work(server: uvicorn.Server) -> None:
        beside = asyncio.create_task(runner.run())
        await server.serve()
        beside.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beside

    with running(config, work=work) as port:
        yield f"https://localhost:{port}" if files else f"http://127.0.0.1:{port}"


def trusting(folder: Path) -> dict[str, str]:
    """Variables with which clients trust the server of this folder, and no other."""
    pem = str(folder / "tls/certificate.pem")
    return {"SSL_CERT_FILE": pem, "NODE_EXTRA_CA_CERTS": pem}
