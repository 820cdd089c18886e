"""A server of one thread that calls its backend in the middle of each response and after it.

GET /CASE?id=ID calls $BACKEND/out/ID/1 when a part of the response was written, and $BACKEND/out/ID/2 when all was.
"""
import http.client
import os
import socket
import tempfile
from urllib.parse import parse_qs, urlsplit

BACKEND = urlsplit(os.environ["BACKEND"])
OK = b"HTTP/1.1 200 OK\r\n"
PART = b"x" * 100_000


def length(body, times=1):
    return OK + b"Content-Length: %d\r\n\r\n" % (len(body) * times)


def sendfile(connection):
    with tempfile.TemporaryFile() as file:
        file.write(PART)
        file.flush()
        os.sendfile(connection.fileno(), file.fileno(), 0, len(PART))


# What is written before the first call, and before the second.
CASES = {
    "chunked": (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"0\r\n\r\n"),
    "interim": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", length(b"abc") + b"abc"),
    "counted": (length(b"abc", 2) + b"abc", b"abc"),
    "sendfile": (length(PART), sendfile),
    # The client does not read yet: most of it waits in the socket, in the end with its last byte.
    "waiting": (length(PART, 2) + PART, PART),
}


def call(path):
    backend = http.client.HTTPConnection(BACKEND.hostname, BACKEND.port, timeout=60)
    backend.request("GET", path)
    backend.getresponse().read()
    backend.close()


def serve(connection):
    while head := connection.recv(65536):
        target = urlsplit(head.split(b" ")[1].decode())
        identity = parse_qs(target.query)["id"][0]
        for k, part in enumerate(CASES[target.path[1:]], start=1):
            part(connection) if callable(part) else connection.sendall(part)
            call(f"/out/{identity}/{k}")


listener = socket.create_server(("::", int(os.environ["PORT"])), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    accepted, _ = listener.accept()
    with accepted:
        serve(accepted)
