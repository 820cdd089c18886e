"""A service of a small shop, on ThreadingHTTPServer and http.client. It copies no header.

GET /ANYTHING/REST calls each of $CALLS ("URL how", separated by commas, with {} for REST), and answers when all have:
    direct  from the thread that reads the request
    thread  from a thread that is started for it
    mixed   so for every second REST that ends with a digit, else directly
    queue   from a thread that has been there before, without waiting for the answer
"""
import http.client
import os
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

CALLS = [call.split() for call in os.environ.get("CALLS", "").split(",") if call]
QUEUE = queue.Queue()


def fetch(url, rest):
    parts = urlsplit(url.replace("{}", rest))
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    try:
        connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""))
        connection.getresponse().read()
    finally:
        connection.close()


def in_a_thread(url, rest):
    thread = threading.Thread(target=fetch, args=(url, rest))
    thread.start()
    thread.join()


def in_both_ways(url, rest):
    (in_a_thread if rest[-1:] in "13579" else fetch)(url, rest)


def in_the_queue(url, rest):
    QUEUE.put((url, rest))


def work():
    while True:
        fetch(*QUEUE.get())


HOW = {"direct": fetch, "thread": in_a_thread, "mixed": in_both_ways, "queue": in_the_queue}


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        rest = self.path.lstrip("/").partition("/")[2]
        for url, how in CALLS:
            HOW[how](url, rest)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 256


if __name__ == "__main__":
    threading.Thread(target=work, daemon=True).start()
    Server(("127.0.0.1", int(os.environ["PORT"])), Service).serve_forever()
