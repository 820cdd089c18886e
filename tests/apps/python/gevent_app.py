"""A relay on gevent: its WSGI server and requests, patched, with a greenlet per connection.

GET or POST /relay?id=ID&n=K&via=HANDLER&delay=MS calls $BACKEND/out/ID/1 … K and answers with the
length of each reply, one a line. HANDLER is how: now, sleep (MS first), fan (in parallel), file,
resolve or database (reads a file, resolves a name or asks Redis on $REDIS_PORT first), task (in a
greenlet of their own), thread (in the hub's pool of threads), or after: answers at once with
nothing, and then calls $BACKEND/after/ID/1 … K.
$BACKEND_KEEP_ALIVE=1 keeps backend connections, at most $BACKEND_POOL if that is set.
$BACKGROUND=1 calls $BACKEND/background/1 … every 50 ms.
"""
from gevent import monkey

monkey.patch_all()

import itertools
import os
import signal
import socket
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs

import gevent
import redis
import requests
from gevent.pywsgi import WSGIHandler, WSGIServer

BACKEND = os.environ["BACKEND"]
KEEP_ALIVE = os.environ.get("BACKEND_KEEP_ALIVE") == "1"
POOL = int(os.environ.get("BACKEND_POOL", 256))
HANDLERS = {"now", "sleep", "fan", "file", "resolve", "database", "task", "thread", "after"}
SESSION = requests.Session()
SESSION.mount("http://", requests.adapters.HTTPAdapter(1, POOL, pool_block=True))
# A thread has a hub of its own, and what waits in a pool of connections waits in one hub.
LOCAL = threading.local()
REDIS = redis.Redis.from_pool(  # connects when it is first used
    redis.BlockingConnectionPool(
        host="127.0.0.1", port=int(os.environ.get("REDIS_PORT", 6379)), max_connections=8, timeout=60
    )
)


def fetch(path, session=SESSION):
    response = (session if KEEP_ALIVE else requests).get(BACKEND + path, timeout=60)
    response.raise_for_status()
    return len(response.content)


def in_order(paths):
    return [fetch(path) for path in paths]


def in_thread(paths):
    if not hasattr(LOCAL, "session"):
        LOCAL.session = requests.Session()
    return [fetch(path, LOCAL.session) for path in paths]


def call(via, name, delay, paths):
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
        case "fan":
            return [call.get() for call in [gevent.spawn(fetch, path) for path in paths]]
        case "task":
            return gevent.spawn(in_order, paths).get()
        case "thread":
            return gevent.get_hub().threadpool.apply(in_thread, (paths,))
    return in_order(paths)


def relay(environ, start_response):
    def answer(status, text):
        body = text.encode()
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    environ["wsgi.input"].read()
    query = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    name, via = query.get("id"), query.get("via", "now")
    if environ["PATH_INFO"] != "/relay" or not name or via not in HANDLERS:
        return answer("404 Not Found", "no such thing\n")
    numbers = range(1, int(query.get("n", 1)) + 1)
    if via == "after":
        gevent.spawn(forget, [f"/after/{name}/{k}" for k in numbers])  # begins when this greenlet waits
        return answer("200 OK", "")
    try:
        lengths = call(via, name, int(query.get("delay", 0)), [f"/out/{name}/{k}" for k in numbers])
    except Exception as error:
        return answer("502 Bad Gateway", f"{error!r}\n")
    return answer("200 OK", "".join(f"{length}\n" for length in lengths))


def forget(paths):
    try:
        in_order(paths)
    except requests.RequestException:
        pass


def background():
    for n in itertools.count(1):
        forget([f"/background/{n}"])
        time.sleep(0.05)


class Handler(WSGIHandler):
    def handle(self):
        # Head and body go in two writes: without this Nagle and delayed acknowledgements cost 40 ms a response.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().handle()


def main():
    address = ("127.0.0.1", int(os.environ["PORT"]))
    server = WSGIServer(address, relay, backlog=256, log=None, handler_class=Handler)
    gevent.signal_handler(signal.SIGTERM, server.stop, 1)
    if os.environ.get("BACKGROUND") == "1":
        gevent.spawn(background)
    server.serve_forever()


if __name__ == "__main__":
    main()
