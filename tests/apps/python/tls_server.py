"""An HTTPS server on $PORT with the certificate $CERT: POST echoes the body, GET /body/N answers with N bytes.

A request that carries $FORBIDDEN in its head is answered with 418: nothing may be added inside TLS.
"""
import os
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FORBIDDEN = os.environ["FORBIDDEN"]


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def do_GET(self):
        self.answer(b"b" * int(self.path.rsplit("/", 1)[1]))

    def answer(self, body):
        self.send_response(418 if FORBIDDEN in self.headers else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


server = Server(("127.0.0.1", int(os.environ["PORT"])), Echo)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.environ["CERT"])
# The handshake runs in the connection's own thread.
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
