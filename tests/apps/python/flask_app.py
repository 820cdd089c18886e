"""A relay on Flask and requests, for gunicorn: all that a request does is on its own thread.

GET or POST /relay?id=ID&n=K&via=HANDLER&delay=MS calls $BACKEND/out/ID/1 … K and answers with the
length of each reply, one a line. HANDLER is what comes first: now (nothing), sleep (MS), file (reads
one), resolve (a name), database (asks Redis on $REDIS_PORT), or after: answers at once with nothing,
and then calls $BACKEND/after/ID/1 … K.
$BACKEND_KEEP_ALIVE=1 uses one requests.Session per thread, or with $BACKEND_POOL one per process
with at most as many connections.
$BACKGROUND=1 calls $BACKEND/background/1 … every 50 ms, from each of gunicorn's workers.
"""
import itertools
import os
import socket
import threading
import time
from pathlib import Path

import redis
import requests
from flask import Flask, Response, abort, request

BACKEND = os.environ["BACKEND"]
KEEP_ALIVE = os.environ.get("BACKEND_KEEP_ALIVE") == "1"
POOL = int(os.environ.get("BACKEND_POOL", 0))
HANDLERS = {"now", "sleep", "file", "resolve", "database", "after"}
LOCAL = threading.local()
SHARED = requests.Session()
SHARED.mount("http://", requests.adapters.HTTPAdapter(1, POOL, pool_block=True))
REDIS = redis.Redis.from_pool(  # connects when it is first used
    redis.BlockingConnectionPool(
        host="127.0.0.1", port=int(os.environ.get("REDIS_PORT", 6379)), max_connections=8, timeout=60
    )
)
app = Flask(__name__)


def get(url):
    if not KEEP_ALIVE:
        return requests.get(url, timeout=60)
    if POOL:
        return SHARED.get(url, timeout=60)
    if not hasattr(LOCAL, "session"):
        LOCAL.session = requests.Session()
    return LOCAL.session.get(url, timeout=60)


def fetch(path):
    response = get(BACKEND + path)
    response.raise_for_status()
    return len(response.content)


def prepare(via, name, delay):
    match via:
        case "sleep":
            time.sleep(delay / 1000)
        case "file":
            Path(__file__).read_bytes()
        case "resolve":
            socket.getaddrinfo("localhost", None)
        case "database":
            if REDIS.echo(name) != name.encode():
                raise ValueError("the answer to another request")


@app.route("/relay", methods=["GET", "POST"])
def relay():
    request.get_data()
    name, via = request.args.get("id"), request.args.get("via", "now")
    if not name or via not in HANDLERS:
        abort(404)
    numbers = range(1, int(request.args.get("n", 1)) + 1)
    if via == "after":
        response = Response(mimetype="text/plain")
        response.call_on_close(lambda: forget(f"/after/{name}/{k}" for k in numbers))
        return response
    try:
        prepare(via, name, int(request.args.get("delay", 0)))
        lengths = [fetch(f"/out/{name}/{k}") for k in numbers]
    except Exception as error:
        return Response(f"{error!r}\n", status=502, mimetype="text/plain")
    return Response("".join(f"{length}\n" for length in lengths), mimetype="text/plain")


def forget(paths):
    try:
        for path in paths:
            fetch(path)
    except requests.RequestException:
        pass


def background():
    for n in itertools.count(1):
        forget([f"/background/{n}"])
        time.sleep(0.05)


if os.environ.get("BACKGROUND") == "1":
    threading.Thread(target=background, daemon=True).start()
