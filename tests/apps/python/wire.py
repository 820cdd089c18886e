"""A server whose handlers talk to a raw TCP server in the ways that programs do.

GET /case/NAME?port=P runs a case against 127.0.0.1:P and answers with what the case returns.
The same case sends the same bytes each time it runs.
"""
import os
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import wire_foreign
import wire_held
import wire_http
import wire_send
import wire_tls

CASES = {
    name: case
    for module in (wire_http, wire_send, wire_held, wire_foreign, wire_tls)
    for name, case in vars(module).items()
    if callable(case) and getattr(case, "__module__", "") == module.__name__ and not name.startswith("_")
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        try:
            result, status = CASES[url.path.removeprefix("/case/")](**query), 200
        except Exception:
            result, status = traceback.format_exc(), 500
        body = str(result or "done").encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
