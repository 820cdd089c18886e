"""A relay on FastAPI and httpx, for uvicorn: see aio.py for its interface.

uvicorn's command line says the port and the event loop:
python -m uvicorn fastapi_app:app --host 127.0.0.1 --port PORT --loop asyncio|uvloop --http h11
"""
import asyncio
import http.client
import itertools
import os
import threading
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import redis.asyncio
from fastapi import BackgroundTasks, FastAPI, Request
from fastapi.responses import PlainTextResponse

BACKEND = os.environ["BACKEND"]
KEEP_ALIVE = os.environ.get("BACKEND_KEEP_ALIVE") == "1"
POOL = int(os.environ.get("BACKEND_POOL", 0)) or None  # None: any number
HANDLERS = {"now", "sleep", "fan", "file", "resolve", "database", "task", "thread", "after"}
REDIS = redis.asyncio.Redis.from_pool(  # connects when it is first used
    redis.asyncio.BlockingConnectionPool(
        host="127.0.0.1", port=int(os.environ.get("REDIS_PORT", 6379)), max_connections=8, timeout=60
    )
)
LOCAL = threading.local()


def new_client():
    if KEEP_ALIVE:
        limits = httpx.Limits(max_connections=POOL, max_keepalive_connections=POOL)
        return httpx.AsyncClient(base_url=BACKEND, limits=limits, timeout=60)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=BACKEND, limits=limits, timeout=60, headers={"Connection": "close"})


@asynccontextmanager
async def lifespan(app):
    async with new_client() as app.state.client:
        if os.environ.get("BACKGROUND") == "1":
            timer = asyncio.create_task(background(app.state.client))
        yield
        if os.environ.get("BACKGROUND") == "1":
            timer.cancel()
    await REDIS.aclose()


app = FastAPI(lifespan=lifespan)


async def fetch(client, path):
    response = await client.get(path)
    return len(response.raise_for_status().content)


async def in_order(client, paths):
    return [await fetch(client, path) for path in paths]


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


async def call(client, via, name, delay, paths):
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
            return await asyncio.gather(*(fetch(client, path) for path in paths))
        case "task":
            return await asyncio.create_task(in_order(client, paths))
        case "thread":
            return [await asyncio.to_thread(blocking_fetch, path) for path in paths]
    return await in_order(client, paths)


@app.api_route("/relay", methods=["GET", "POST"], response_class=PlainTextResponse)
async def relay(
    request: Request, tasks: BackgroundTasks, id: str = "", n: int = 1, via: str = "now", delay: int = 0
):
    await request.body()
    client = request.app.state.client
    if not id or via not in HANDLERS:
        return PlainTextResponse("no such thing\n", status_code=404)
    if via == "after":
        tasks.add_task(forget, client, [f"/after/{id}/{k}" for k in range(1, n + 1)])
        return ""
    try:
        lengths = await call(client, via, id, delay, [f"/out/{id}/{k}" for k in range(1, n + 1)])
    except Exception as error:
        return PlainTextResponse(f"{error!r}\n", status_code=502)
    return "".join(f"{length}\n" for length in lengths)


async def forget(client, paths):
    """Runs once the response is sent: so are FastAPI's background tasks."""
    with suppress(httpx.HTTPError):
        await in_order(client, paths)


async def background(client):
    for n in itertools.count(1):
        with suppress(httpx.HTTPError):
            await fetch(client, f"/background/{n}")
        await asyncio.sleep(0.05)
