"""A service that does nothing but spend processor time: what no real one can do better than.

Its workers are processes that share connections out evenly, and answer one call after the other, as
those of the service do. There is nothing in them to wait for, so how much longer a call takes under
load than alone is what the machine adds. ``benchmarks/load.py --floor`` starts and measures it.

    python benchmarks/spinning.py WORKERS MILLISECONDS
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from multiprocessing import RawArray
from typing import Any

import uvloop

BODY = b"x" * 10_000
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


async def work(listening: socket.socket, connections: Any, own: int, milliseconds: float) -> None:
    """Accept in turn with the other workers, of whose ``connections`` all know, and answer."""
    loop = asyncio.get_running_loop()
    turns = asyncio.Lock()
    answering: set[asyncio.Task[None]] = set()
    while True:
        connections[own] = len(answering)
        while connections[own] > min(connections):
            await asyncio.sleep(0.001)
            connections[own] = len(answering)
        accepted, _ = await loop.sock_accept(listening)
        task = asyncio.create_task(answer(accepted, turns, milliseconds))
        answering.add(task)
        task.add_done_callback(answering.discard)


async def answer(accepted: socket.socket, turns: asyncio.Lock, milliseconds: float) -> None:
    """Answer the calls of a connection, each for so much processor time, until it ends."""
    reader, writer = await asyncio.open_connection(sock=accepted)
    with contextlib.suppress(EOFError, OSError), contextlib.closing(writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            async with turns:
                end = time.thread_time() + milliseconds / 1000
                while time.thread_time() < end:
                    pass
                writer.write(ANSWER)
                await asyncio.sleep(0)  # so that the loop sees who has come meanwhile


def main() -> None:
    """Serve until the whole process group is ended; what is printed first is the port."""
    workers, milliseconds = int(sys.argv[1]), float(sys.argv[2])
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    connections = RawArray("i", workers)
    for own in range(workers):
        if os.fork() == 0:
            uvloop.run(work(listening, connections, own, milliseconds))
    print(listening.getsockname()[1], flush=True)
    os.wait()


if __name__ == "__main__":
    main()
