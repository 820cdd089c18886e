"""A relay with one thread that serves several connections at once: it answers when two requests are there.

GET /relay?id=ID&n=1 calls $BACKEND/out/ID/1.
"""
import http.client
import os
import selectors
import socket
from urllib.parse import parse_qs, urlsplit

BACKEND = urlsplit(os.environ["BACKEND"])
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
selector = selectors.DefaultSelector()
selector.register(listener, selectors.EVENT_READ)
waiting = []
while True:
    for key, _ in selector.select():
        if key.fileobj is listener:
            selector.register(listener.accept()[0], selectors.EVENT_READ)
            continue
        head = key.fileobj.recv(65536)
        if not head:
            selector.unregister(key.fileobj)
            key.fileobj.close()
            continue
        waiting.append((key.fileobj, parse_qs(urlsplit(head.split(b" ")[1].decode()).query)["id"][0]))
    if len(waiting) < 2:
        continue
    for connection, identity in waiting:
        backend = http.client.HTTPConnection(BACKEND.hostname, BACKEND.port, timeout=60)
        backend.request("GET", f"/out/{identity}/1")
        answer = f"{len(backend.getresponse().read())}\n".encode()
        backend.close()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
    waiting.clear()
