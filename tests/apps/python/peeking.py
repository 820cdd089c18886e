"""A relay that looks at each head with MSG_PEEK and then reads it, or throws it away with MSG_TRUNC.

GET /relay?id=ID&n=1 calls $BACKEND/out/ID/1. $DISCARD=1 throws heads away: the kernel then leaves the
buffer as it is, and here it holds another request. $PIECES=N reads heads into N pieces of memory, of which
the last one is larger than what comes.
"""
import http.client
import os
import socket
import threading
from urllib.parse import parse_qs, urlsplit

BACKEND = urlsplit(os.environ["BACKEND"])
DECOY = b"GET / HTTP/1.1\r\nx-telepresence-id: value-of-the-decoy\r\nx-pad: "


def take(connection, length):
    if os.environ.get("DISCARD") == "1":
        buffer = bytearray(DECOY.ljust(length - 4, b"x") + b"\r\n\r\n")
        assert len(buffer) == length
        connection.recv_into(buffer, length, socket.MSG_TRUNC)
    elif "PIECES" in os.environ:
        pieces = [bytearray(8) for _ in range(int(os.environ["PIECES"]) - 1)]
        connection.recvmsg_into([*pieces, bytearray(65536)])
    else:
        connection.recv(length)


def serve(connection):
    with connection:
        while True:
            seen = connection.recv(65536, socket.MSG_PEEK)
            if not seen:
                return
            end = seen.find(b"\r\n\r\n")
            if end < 0:
                continue
            identity = parse_qs(urlsplit(seen.split(b" ")[1].decode()).query)["id"][0]
            take(connection, end + 4)
            backend = http.client.HTTPConnection(BACKEND.hostname, BACKEND.port, timeout=60)
            backend.request("GET", f"/out/{identity}/1")
            answer = f"{len(backend.getresponse().read())}\n".encode()
            backend.close()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))


listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
while True:
    accepted, _ = listener.accept()
    threading.Thread(target=serve, args=(accepted,), daemon=True).start()
