"""A thread per connection; calls go out on threads and connections that requests and a timer share.

GET /relay?id=ID[&via=HANDLER] answers with the length of the reply, half a second after its call. HANDLER is
pool: calls $BACKEND/out/ID/1 on a pool; later: leaves the call of $BACKEND/after/ID/1 in a queue, and answers at once;
grow: puts the call of $BACKEND/out/ID/1 into the same queue, and starts a thread that works it off from its beginning;
connect: opens a connection to the backend and leaves it to the timer.

The timer calls $BACKEND/background/1 … every 50 ms, from the first request on: on the connection that
it was left; else, in turn, on the pool, and by curl, which the pool's thread starts. So the pool's thread, which is
started for the request, works for the timer.
"""
import http.client
import itertools
import os
import queue
import subprocess
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BACKEND = urlsplit(os.environ["BACKEND"])
POOL = ThreadPoolExecutor()
FIRST = threading.Event()
OPENED = queue.Queue()
JOBS = queue.Queue()


def connect():
    return http.client.HTTPConnection(BACKEND.hostname, BACKEND.port, timeout=60)


def fetch(path, connection=None):
    connection = connection or connect()
    try:
        connection.request("GET", path)
        return len(connection.getresponse().read())
    finally:
        connection.close()


def by_curl(path):
    command = ["curl", "-sS", "--noproxy", "*", BACKEND.geturl() + path]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def background():
    FIRST.wait()
    for n in itertools.count(1):
        path = f"/background/{n}"
        try:
            fetch(path, OPENED.get_nowait())
        except queue.Empty:
            POOL.submit(by_curl if n % 2 else fetch, path).result()
        time.sleep(0.05)


def work():
    while True:
        path, done = JOBS.get()
        done.set_result(fetch(path))


def put(path):
    done = Future()
    JOBS.put((path, done))
    return done


class Relay(BaseHTTPRequestHandler):
    def do_GET(self):
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        name, via = query["id"], query.get("via", "pool")
        if via == "later":
            put(f"/after/{name}/1")
            return self.answer("0\n")
        if via == "grow":
            done = put(f"/out/{name}/1")
            threading.Thread(target=work, daemon=True).start()
            length = done.result()
        elif via == "connect":
            connection = connect()
            connection.connect()
            OPENED.put(connection)
            length = 0
        else:
            length = POOL.submit(fetch, f"/out/{name}/1").result()
        FIRST.set()
        time.sleep(0.5)
        self.answer(f"{length}\n")

    def answer(self, text):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


threading.Thread(target=background, daemon=True).start()
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Relay).serve_forever()
