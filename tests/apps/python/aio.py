"""A relay on aiohttp, both server and client: one event loop on one thread.

GET or POST /relay?id=ID&n=K&via=HANDLER&delay=MS calls $BACKEND/out/ID/1 … K and answers with the
length of each reply, one a line. HANDLER is how: now, sleep (MS first), fan (in parallel), file,
resolve or database (reads a file, resolves a name or asks Redis on $REDIS_PORT first), task (in a
task of their own), thread (http.client in threads), or after: answers at once with nothing, and
then calls $BACKEND/after/ID/1 … K.
$BACKEND_KEEP_ALIVE=1 keeps backend connections, at most $BACKEND_POOL if that is set.
$BACKGROUND=1 calls $BACKEND/background/1 … every 50 ms. $UVLOOP=1 runs on uvloop.
"""
import asyncio
import http.client
import itertools
import os
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import redis.asyncio
from aiohttp import web

BACKEND = os.environ["BACKEND"]
KEEP_ALIVE = os.environ.get("BACKEND_KEEP_ALIVE") == "1"
POOL = int(os.environ.get("BACKEND_POOL", 0)) if KEEP_ALIVE else 0  # 0: any number
HANDLERS = {"now", "sleep", "fan", "file", "resolve", "database", "task", "thread", "after"}
SESSION = web.AppKey("session", aiohttp.ClientSession)
REDIS = redis.asyncio.Redis.from_pool(  # connects when it is first used
    redis.asyncio.BlockingConnectionPool(
        host="127.0.0.1", port=int(os.environ.get("REDIS_PORT", 6379)), max_connections=8, timeout=60
    )
)
LOCAL = threading.local()
TASKS = set()  # the loop itself holds tasks only weakly


async def fetch(session, path):
    async with session.get(path) as response:
        return len(await response.read())


async def in_order(session, paths):
    return [await fetch(session, path) for path in paths]


def blocking_fetch(path):
    """As `fetch`, on a thread, which has a connection of its own."""
    if not hasattr(LOCAL, "connection"):
        backend = urlsplit(BACKEND)
        LOCAL.connection = http.client.HTTPConnection(backend.hostname, backend.port, timeout=60)
    answered = False
    try:
        LOCAL.connection.request("GET", path, headers={} if KEEP_ALIVE else {"Connection": "close"})
        response = LOCAL.connection.getresponse()
        length = len(response.read())
        answered = True
    finally:
        if not answered or not KEEP_ALIVE:
            LOCAL.connection.close()  # the next request opens it again
    if response.status >= 400:
        raise OSError(f"{path}: status {response.status}")
    return length


async def call(session, via, name, delay, paths):
    match via:
        case "sleep":
            await asyncio.sleep(delay / 1000)
        case "file":
            await asyncio.to_thread(Path(__file__).read_bytes)
        case "resolve":
            await asyncio.get_running_loop().getaddrinfo("localhost", None)
        case "database":
            if await REDIS.echo(name) != name.encode():
                raise ValueError("the answer to another request")
        case "fan":
            return await asyncio.gather(*(fetch(session, path) for path in paths))
        case "task":
            return await asyncio.create_task(in_order(session, paths))
        case "thread":
            return [await asyncio.to_thread(blocking_fetch, path) for path in paths]
    return await in_order(session, paths)


async def relay(request):
    await request.read()
    query, session = request.query, request.app[SESSION]
    name, via = query.get("id"), query.get("via", "now")
    if not name or via not in HANDLERS:
        raise web.HTTPNotFound
    count, delay = int(query.get("n", 1)), int(query.get("delay", 0))
    if via == "after":
        return await answer_first(request, [f"/after/{name}/{k}" for k in range(1, count + 1)])
    paths = [f"/out/{name}/{k}" for k in range(1, count + 1)]
    try:
        lengths = await call(session, via, name, delay, paths)
    except Exception as error:
        return web.Response(status=502, text=f"{error!r}\n")
    return web.Response(text="".join(f"{length}\n" for length in lengths))


async def answer_first(request, paths):
    response = web.Response(content_type="text/plain")
    await response.prepare(request)
    await response.write_eof()

    async def calls():
        with suppress(aiohttp.ClientError, TimeoutError):
            await in_order(request.app[SESSION], paths)

    task = asyncio.create_task(calls())
    TASKS.add(task)
    task.add_done_callback(TASKS.discard)
    return response


async def background(session):
    for n in itertools.count(1):
        with suppress(aiohttp.ClientError, TimeoutError):
            await fetch(session, f"/background/{n}")
        await asyncio.sleep(0.05)


async def client(app):
    connector = aiohttp.TCPConnector(force_close=not KEEP_ALIVE, limit=POOL)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(
        BACKEND, connector=connector, timeout=timeout, raise_for_status=True
    ) as app[SESSION]:
        if os.environ.get("BACKGROUND") == "1":
            timer = asyncio.create_task(background(app[SESSION]))
        yield
        if os.environ.get("BACKGROUND") == "1":
            timer.cancel()
    await REDIS.aclose()


def main():
    app = web.Application(client_max_size=64 << 20)
    app.cleanup_ctx.append(client)
    app.router.add_get("/relay", relay)
    app.router.add_post("/relay", relay)
    loop = None
    if os.environ.get("UVLOOP") == "1":
        import uvloop

        loop = uvloop.new_event_loop()
    web.run_app(
        app, host="127.0.0.1", port=int(os.environ["PORT"]), loop=loop, backlog=256, access_log=None,
        print=None, shutdown_timeout=1,
    )


if __name__ == "__main__":
    main()
