"""One hop of the demo. Usage: service.py NAME PORT [NEXT_PORT]

Answers with the headers that it received and, where there is a next hop, with that hop's answer. It copies no header.
"""
import http.client
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME, PORT = sys.argv[1], int(sys.argv[2])
NEXT_PORT = int(sys.argv[3]) if len(sys.argv) > 3 else None


def ask_next_hop(path):
    connection = http.client.HTTPConnection("127.0.0.1", NEXT_PORT, timeout=10)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        answer = {
            "service": NAME,
            "received": [f"{name}: {value}" for name, value in self.headers.items()],
            "next": ask_next_hop(self.path) if NEXT_PORT else None,
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
