"""One service of a chain of pods: it asks the first address in a request's path, with the rest as the path.

GET /10.0.0.2:8080/10.0.0.3:8080 goes to 10.0.0.2:8080 as GET /10.0.0.3:8080. The answer tells what was received, and
holds the next hop's answer. No header is copied. A thread serves one connection, and keeps its own to the next hops.
"""
import http.client
import json
import os
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOPS = threading.local()


def ask(address, path):
    connections = HOPS.__dict__
    if address not in connections:
        connections[address] = http.client.HTTPConnection(address, timeout=10)
        connections[address].connect()
        connections[address].sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        connections[address].request("GET", path)
        response = connections[address].getresponse()
        body = json.loads(response.read())
        if response.status != 200:
            raise OSError(body["error"])
        return body
    except Exception:
        # No second attempt: it would hide what has gone wrong.
        connections.pop(address).close()
        raise


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # The head and the body of an answer in one segment.
    wbufsize = 65536

    def do_GET(self):
        address, _, rest = self.path.lstrip("/").partition("/")
        answer = {"pod": socket.gethostname(), "received": list(self.headers.items())}
        try:
            answer["next"] = ask(address, "/" + rest) if address else None
            self.answer(200, answer)
        except Exception as error:
            self.answer(502, {"error": f"{socket.gethostname()} asked {address}: {error!r}"})

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


# The first process of a container is not ended by a signal that it does not handle.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
Server(("0.0.0.0", int(os.environ.get("PORT", "8080"))), Handler).serve_forever()
