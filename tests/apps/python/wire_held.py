"""Cases that stop in the middle of a transfer until the file `go` exists; they create `go`.waiting meanwhile."""
import hashlib
import os
import time

from wire_socket import END, dial, expect, head, noise, post

SIZE = 12_000_000


def _wait_for(go):
    with open(go + ".waiting", "x"):
        pass
    while not os.path.exists(go):
        time.sleep(0.005)


def held_download(port, go):
    """A response with most of it unread, in the receive queue and at the sender; answers with its SHA-256."""
    with dial(port) as sock:
        sock.sendall(head(target=f"/body/{SIZE}", fields=["Connection: close"]))
        received = sock.recv(1000)
        _wait_for(go)
        while part := sock.recv(65536):
            received += part
    body = received.split(b"\r\n\r\n", 1)[1]
    return f"{len(body)} {hashlib.sha256(body).hexdigest()}"


def held_upload(port, go):
    """A body that is half sent."""
    body = noise(SIZE) + END
    with dial(port) as sock:
        sock.sendall(post(body) + body[: SIZE // 2])
        _wait_for(go)
        sock.sendall(body[SIZE // 2 :])
        expect(sock)


def held_head(port, go):
    """A head that is half sent."""
    text = head(fields=["X-Last: yes"])
    with dial(port) as sock:
        sock.sendall(text[:20])
        _wait_for(go)
        sock.sendall(text[20:])
        expect(sock)


def held_connection(port, go):
    """Two requests on one connection, and a long wait between them."""
    with dial(port) as sock:
        sock.sendall(head())
        expect(sock)
        _wait_for(go)
        sock.sendall(head())
        expect(sock)
