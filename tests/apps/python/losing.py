"""A service that loses its requests' headers in ways that services do: GET or POST /CASE calls $BACKEND once.

It answers when the call is done, with a thread for each connection.
"""
import http.client
import os
import socket
import ssl
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

BACKEND = urlsplit(os.environ["BACKEND"])
POOL = ThreadPoolExecutor(max_workers=2, thread_name_prefix="pool")


def connect():
    return http.client.HTTPConnection(BACKEND.hostname, BACKEND.port, timeout=60)


def call(path, headers=None, connection=None):
    connection = connection or connect()
    connection.request("GET", path, headers=headers or {})
    connection.getresponse().read()
    connection.close()


def pool(_):
    """The work goes to threads that were there before the request."""
    POOL.submit(call, "/from-a-pool").result()


def thread(_):
    """The work goes to a new thread."""
    worker = threading.Thread(target=call, args=("/from-a-thread",))
    worker.start()
    worker.join()


def plain(_):
    """Nothing is lost."""
    call("/plain")


def own(handler):
    """The service sends the header itself, with a value of its own."""
    call("/own", {"x-telepresence-id": "of-the-service"})


def tls(_):
    context = ssl._create_unverified_context()
    call("/body/10", connection=http.client.HTTPSConnection(BACKEND.hostname, BACKEND.port, context=context, timeout=60))


def http2(_):
    """curl, without TLS."""
    command = ["curl", "-sS", "--noproxy", "*", "--max-time", "10", "--http2-prior-knowledge"]
    subprocess.run([*command, BACKEND.geturl() + "/http2"], check=True, stdout=subprocess.DEVNULL)


def cookies(_):
    """A head of 20 KiB."""
    call("/cookies", {"Cookie": "; ".join(f"c{number}={'v' * 1000}" for number in range(20))})


def body(handler):
    """The call goes out before the request's body is read."""
    call("/before-the-body")
    handler.rfile.read(int(handler.headers["Content-Length"]))


def twice(_):
    """Two lengths that contradict each other, and another request on the same connection."""
    connection = connect()
    connection.putrequest("POST", "/two-lengths")
    connection.putheader("Content-Length", "3")
    connection.putheader("Content-Length", "4")
    connection.endheaders(b"abc")
    connection.getresponse().read()
    connection.request("GET", "/after-two-lengths")
    connection.getresponse().read()
    connection.close()


def raw(text):
    """Writes this, and waits for an answer."""
    with socket.create_connection((BACKEND.hostname, BACKEND.port), timeout=60) as sock:
        sock.sendall(text)
        sock.recv(65536)


def line_feeds(_):
    """Lines that end without a carriage return."""
    raw(b"GET /line-feeds HTTP/1.1\nHost: backend\nConnection: close\n\n")


def pipelined(_):
    """Two requests at once."""
    raw(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")


def small_buffer(_):
    """A send buffer that takes little more than the head."""
    connection = connect()
    connection.sock = socket.socket()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2304)
    connection.sock.connect((BACKEND.hostname, BACKEND.port))
    call("/small-buffer", {"Cookie": "v" * 3000}, connection)


CASES = {
    f"/{case.__name__.replace('_', '-')}": case
    for case in (pool, thread, plain, own, tls, http2, cookies, body, twice, line_feeds, pipelined, small_buffer)
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        case = CASES[urlsplit(self.path).path]
        case(self)
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    do_POST = do_GET

    def log_message(self, *args):
        pass


def fill(executor, threads):
    """Starts all of its threads now, so that no request does."""
    barrier = threading.Barrier(threads)
    for done in [executor.submit(barrier.wait) for _ in range(threads)]:
        done.result()


if __name__ == "__main__":
    fill(POOL, 2)
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
