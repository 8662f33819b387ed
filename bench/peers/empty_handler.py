"""The least that can be served: a Litestar handler that reads the body, on the same granian in the same kind of process."""

from __future__ import annotations

import sys

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from litestar import Litestar, Request, post

NAME = "empty Litestar handler"


@post("/v1/analyze", status_code=200)
async def read_body(request: Request) -> dict[str, int]:  # type: ignore[type-arg]
    """Reads the body and says how long it was."""
    return {"bytes": len(await request.body())}


async def main(port: int) -> None:
    """Serves until it is killed."""
    server = Server(
        Litestar([read_body], openapi_config=None), address="127.0.0.1", port=port, interface=Interfaces.ASGI,
        http=HTTPModes.http1, log_level=LogLevels.error,
    )  # fmt: skip
    await server.serve()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
