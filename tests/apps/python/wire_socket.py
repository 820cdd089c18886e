"""What the cases share: connecting, random bytes that are the same each time, reading replies."""
import random
import socket

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# A body that looks like a request must not be taken for one.
DECOY = b"GET /decoy HTTP/1.1\r\nHost: decoy\r\n\r\n"
END = b"<END>"


def dial(port, **options):
    """Connects; `send_buffer` sets SO_SNDBUF."""
    sock = socket.socket()
    sock.settimeout(60)
    if "send_buffer" in options:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options["send_buffer"])
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.connect(("127.0.0.1", int(port)))
    return sock


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def head(method="GET", target="/x", fields=(), version="HTTP/1.1"):
    lines = [f"{method} {target} {version}", "Host: wire.test", *fields, "", ""]
    return "\r\n".join(lines).encode()


def post(body, target="/x", fields=()):
    """The head of a POST with this body."""
    return head("POST", target, [f"Content-Length: {len(body)}", *fields])


def expect(sock, reply=OK):
    """Reads exactly this reply."""
    got = b""
    while len(got) < len(reply):
        part = sock.recv(len(reply) - len(got))
        assert part, f"the stream ended after {got!r}"
        got += part
    assert got == reply, got
