"""A server's batches alone, to be killed: `python answering.py FOLDER LOG`.

Each request that is answered is a line of LOG; the process ends when no batch is open.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from castor.serve.batch_runner import Runner
from castor.serve.store import Store


async def main(folder: Path, log: Path) -> None:
    store, said = Store(folder), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def answer(model: str, request: dict[str, Any]) -> dict[str, Any]:
        os.write(said, f"{request['n']}\n".encode())
        await asyncio.sleep(0.02)
        return {"n": request["n"]}

    runner = asyncio.create_task(Runner(store, answer, at_once=2, look_s=0.05).run())
    while not runner.done():
        with store.read() as rows:
            if not rows.execute("SELECT 1 FROM batches WHERE ended IS NULL").fetchone():
                return
        await asyncio.sleep(0.02)
    await runner


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
