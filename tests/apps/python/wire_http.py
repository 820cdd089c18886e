"""Cases of HTTP/1: kinds of requests and of framing."""
import os
import socket
import struct
import threading

from wire_socket import DECOY, END, dial, expect, head, noise, post

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
TUNNEL = b"HTTP/1.1 200 Connected\r\n\r\n"


def keep_alive(port):
    with dial(port) as sock:
        for number in range(20):
            sock.sendall(head(target=f"/{number}"))
            expect(sock)


def bodies(port):
    """From 1 byte to 5 MB: with the head in one call, and in a call of their own."""
    with dial(port) as sock:
        for size in (1, 2, 100, 1460, 4096, 16383, 16384, 16385, 65536, 1 << 20, 5_000_000):
            body = noise(size, size) + END
            sock.sendall(post(body) + body)
            expect(sock)
            sock.sendall(post(body))
            sock.sendall(body)
            expect(sock)


def decoy_body(port):
    """A body that looks like a request, in a call of its own, and again in the middle."""
    body = DECOY + noise(1000) + DECOY + END
    with dial(port) as sock:
        sock.sendall(post(body))
        sock.sendall(body)
        expect(sock)
        sock.sendall(post(body) + body[:100])
        for start in range(0, len(DECOY), 7):
            sock.sendall(body[100 + start : 107 + start])
        sock.sendall(body[107 + start :])
        expect(sock)


def chunked(port):
    with dial(port) as sock:
        sock.sendall(head("POST", fields=["Transfer-Encoding: chunked"]))
        for data in (DECOY, noise(10), DECOY + noise(5000), noise(70_000)):
            sock.sendall(b"%x\r\n" % len(data))
            sock.sendall(data)
            sock.sendall(b"\r\n")
        sock.sendall(b"0\r\n\r\n" + END)
        expect(sock)


def expect_continue(port):
    body = DECOY + noise(20_000) + END
    with dial(port) as sock:
        sock.sendall(post(body, fields=["Expect: 100-continue"]))
        expect(sock, CONTINUE)
        sock.sendall(body)
        expect(sock)


def half_close(port):
    with dial(port) as sock:
        sock.sendall(head())
        sock.shutdown(socket.SHUT_WR)
        expect(sock)
        assert sock.recv(1) == b""


def reset(port):
    """A connection that is reset in the middle of a body, after the first part has arrived."""
    sock = dial(port)
    sock.sendall(post(noise(100_000)) + noise(5000) + END)
    expect(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def pipelined(port):
    with dial(port) as sock:
        sock.sendall(b"".join(head(target=f"/{number}") for number in range(3)))
        for number in range(3, 6):
            sock.sendall(head(target=f"/{number}"))
        for _ in range(6):
            expect(sock)


def http_1_0(port):
    with dial(port) as sock:
        sock.sendall(head(version="HTTP/1.0"))
        expect(sock)


def absolute_form(port):
    with dial(port) as sock:
        sock.sendall(head(target="http://wire.test:80/x?y=z"))
        expect(sock)


def not_http(port):
    """Request lines that are almost HTTP/1: nothing may be inserted. Each on its own connection."""
    for text in (
        b"GET /\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ):
        with dial(port) as sock:
            sock.sendall(text)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1000)


def connect(port):
    """A tunnel: nothing after its head is baton's business."""
    with dial(port) as sock:
        sock.sendall(head("CONNECT", "other.test:443"))
        expect(sock, TUNNEL)
        for data in (DECOY, noise(3000), DECOY + noise(100), END):
            sock.sendall(data)
        expect(sock)


def websocket(port):
    fields = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw=="]
    with dial(port) as sock:
        sock.sendall(head(fields=fields))
        expect(sock, SWITCHED)
        for size in (1, 125, 126, 70_000):
            length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", min(size, 65535))
            sock.sendall(b"\x82" + length + noise(4) + noise(size))
        sock.sendall(DECOY)
        sock.sendall(END)
        expect(sock)


def head_in_pieces(port):
    """The head in 1, 2, 3 and 10 calls, and byte by byte."""
    for pieces in (1, 2, 3, 10, None):
        text = head(target=f"/{pieces}", fields=[f"X-Filler-{number}: {'f' * number}" for number in range(10)])
        step = -(-len(text) // pieces) if pieces else 1
        with dial(port) as sock:
            for start in range(0, len(text), step):
                sock.sendall(text[start : start + step])
            expect(sock)


def own_header(port, value="own"):
    """The application's own header first, last, in other cases, in a later call: it stays, once."""
    for name in ("x-telepresence-id", "X-Telepresence-Id", "X-TELEPRESENCE-ID"):
        own = f"{name}: {value}"
        trace = "TraceParent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        filler = [f"X-Filler-{number}: {'f' * 50}" for number in range(30)]
        for fields in ([own, trace, *filler], [*filler, trace, own], [*filler, own, *filler, trace]):
            text = head(fields=fields)
            for pieces in (1, 2, 3, 10, len(text)):
                step = -(-len(text) // pieces)
                with dial(port) as sock:
                    for start in range(0, len(text), step):
                        sock.sendall(text[start : start + step])
                    expect(sock)


def large_heads(port):
    """Outbound heads of 100 bytes to 16 KiB."""
    with dial(port) as sock:
        for size in (100, 500, 1000, 1024, 2048, 4000, 8000, 12_000, 15_000, 16_000):
            text = head(fields=[f"X-Filler: {'f' * (size - 60)}"])
            sock.sendall(text)
            expect(sock)


def by_another_thread(port):
    """One thread connects, another sends: the second is started by the handler."""
    with dial(port) as sock:
        thread = threading.Thread(target=sock.sendall, args=(head(),))
        thread.start()
        thread.join()
        expect(sock)


def by_a_child_process(port):
    """The handler forks; the child sends on a connection that it inherits."""
    with dial(port) as sock:
        child = os.fork()
        if child == 0:
            sock.sendall(head())
            os._exit(0)
        os.waitpid(child, 0)
        expect(sock)


def with_fields(port, fields):
    """A request with header lines of the test's choice, separated by bars."""
    with dial(port) as sock:
        sock.sendall(head(fields=fields.split("|")))
        expect(sock)
