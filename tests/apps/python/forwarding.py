"""A relay that passes some headers on by itself: $FORWARD, names separated by commas. As threads.py otherwise.

GET /relay?id=ID&n=K calls $BACKEND/relay?id=ID&n=1, K times: another relay may be behind it. With $OWN=NAME it sends
that header with a value of its own.
"""
import http.client
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BACKEND = urlsplit(os.environ["BACKEND"])
FORWARD = [name for name in os.environ.get("FORWARD", "").split(",") if name]
OWN = os.environ.get("OWN")


class Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        headers = {name: self.headers[name] for name in FORWARD if name in self.headers}
        if OWN:
            headers[OWN] = f"own-{query.get('id')}"
        lengths = []
        for _ in range(int(query.get("n", 1))):
            connection = http.client.HTTPConnection(BACKEND.hostname, BACKEND.port, timeout=60)
            try:
                connection.request("GET", f"/relay?id={query.get('id')}&n=1", headers=headers)
                lengths.append(len(connection.getresponse().read()))
            finally:
                connection.close()
        body = "".join(f"{length}\n" for length in lengths).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Relay).serve_forever()
