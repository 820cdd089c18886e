"""A relay on Tornado, both server and client: one event loop on one thread.

GET or POST /relay?id=ID&n=K&via=HANDLER&delay=MS calls $BACKEND/out/ID/1 … K and answers with the
length of each reply, one a line. HANDLER is how: now, sleep (MS first), fan (in parallel), file,
resolve or database (reads a file, resolves a name or asks Redis on $REDIS_PORT first), task (in a
task of their own), thread (http.client in threads), or after: answers at once with nothing, and
then calls $BACKEND/after/ID/1 … K.
At most $BACKEND_POOL calls are under way; the others wait in the client's own queue. Its connections
are never kept, whatever $BACKEND_KEEP_ALIVE says.
$BACKGROUND=1 calls $BACKEND/background/1 … every 50 ms.
"""
import asyncio
import http.client
import itertools
import os
import signal
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import redis.asyncio
from tornado import httpserver, web
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop

BACKEND = os.environ["BACKEND"]
POOL = int(os.environ.get("BACKEND_POOL", 256))
HANDLERS = {"now", "sleep", "fan", "file", "resolve", "database", "task", "thread", "after"}
REDIS = redis.asyncio.Redis.from_pool(  # connects when it is first used
    redis.asyncio.BlockingConnectionPool(
        host="127.0.0.1", port=int(os.environ.get("REDIS_PORT", 6379)), max_connections=8, timeout=60
    )
)


async def fetch(path):
    # The time in the queue counts, too.
    response = await AsyncHTTPClient().fetch(BACKEND + path, connect_timeout=60, request_timeout=60)
    return len(response.body)


async def in_order(paths):
    return [await fetch(path) for path in paths]


def blocking_fetch(path):
    """As `fetch`, on a thread."""
    backend = urlsplit(BACKEND)
    connection = http.client.HTTPConnection(backend.hostname, backend.port, timeout=60)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        if response.status >= 400:
            raise OSError(f"{path}: status {response.status}")
        return len(response.read())
    finally:
        connection.close()


async def call(via, name, delay, paths):
    loop = IOLoop.current()
    match via:
        case "sleep":
            await asyncio.sleep(delay / 1000)
        case "file":
            await loop.run_in_executor(None, Path(__file__).read_bytes)
        case "resolve":
            await asyncio.get_running_loop().getaddrinfo("localhost", None)
        case "database":
            if await REDIS.echo(name) != name.encode():
                raise ValueError("the answer to another request")
        case "fan":
            return await asyncio.gather(*(fetch(path) for path in paths))
        case "task":
            return await asyncio.create_task(in_order(paths))
        case "thread":
            return [await loop.run_in_executor(None, blocking_fetch, path) for path in paths]
    return await in_order(paths)


class Relay(web.RequestHandler):
    async def get(self):
        name, via = self.get_query_argument("id", ""), self.get_query_argument("via", "now")
        if not name or via not in HANDLERS:
            raise web.HTTPError(404)
        numbers = range(1, int(self.get_query_argument("n", "1")) + 1)
        self.set_header("Content-Type", "text/plain")
        if via == "after":
            await self.finish()
            IOLoop.current().spawn_callback(forget, [f"/after/{name}/{k}" for k in numbers])
            return
        try:
            delay = int(self.get_query_argument("delay", "0"))
            lengths = await call(via, name, delay, [f"/out/{name}/{k}" for k in numbers])
        except Exception as error:
            self.set_status(502)
            self.write(f"{error!r}\n")
        else:
            self.write("".join(f"{length}\n" for length in lengths))

    post = get


async def forget(paths):
    with suppress(OSError):
        await in_order(paths)


async def background():
    for n in itertools.count(1):
        await forget([f"/background/{n}"])
        await asyncio.sleep(0.05)


async def main():
    AsyncHTTPClient.configure(None, max_clients=POOL)
    server = httpserver.HTTPServer(web.Application([("/relay", Relay)], log_function=lambda handler: None))
    server.listen(int(os.environ["PORT"]), "127.0.0.1", backlog=256)
    timer = asyncio.create_task(background()) if os.environ.get("BACKGROUND") == "1" else None
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    await end.wait()
    server.stop()
    if timer:
        timer.cancel()
    await REDIS.aclose()


if __name__ == "__main__":
    asyncio.run(main())
