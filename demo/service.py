"""One hop of the demo. Usage: service.py NAME PORT [NEXT_PORT [pool]]

Answers with the headers that it received and, where there is a next hop, with that hop's answer. It copies no header.
With `pool` it hands its calls to threads that were there before the request, as many services do.
"""
import http.client
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME, PORT = sys.argv[1], int(sys.argv[2])
NEXT_PORT = int(sys.argv[3]) if len(sys.argv) > 3 else None
POOL = ThreadPoolExecutor(2) if sys.argv[4:] == ["pool"] else None


def ask_next_hop(path):
    connection = http.client.HTTPConnection("127.0.0.1", NEXT_PORT, timeout=10)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def ask(path):
    return POOL.submit(ask_next_hop, path).result() if POOL else ask_next_hop(path)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        answer = {
            "service": NAME,
            "received": [f"{name}: {value}" for name, value in self.headers.items()],
            "next": ask(self.path) if NEXT_PORT else None,
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if POOL:
    barrier = threading.Barrier(2)
    for started in [POOL.submit(barrier.wait) for _ in range(2)]:
        started.result()
ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
