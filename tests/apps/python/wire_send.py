"""Cases of sending: system calls, small buffers, partial sends."""
import array
import fcntl
import os
import select
import socket
import tempfile
import termios

from wire_socket import END, OK, dial, expect, head, noise, post


def writev(port):
    body = noise(40_000) + END
    text = post(body)
    with dial(port) as sock:
        parts = [text[:10], text[10:40], text[40:], body[:1], body[1:]]
        sent = os.writev(sock.fileno(), parts)
        sock.sendall(b"".join(parts)[sent:])
        expect(sock)
        sent = sock.sendmsg([text, body])
        sock.sendall((text + body)[sent:])
        expect(sock)


def sendfile_body(port):
    body = noise(3_000_000) + END
    with dial(port) as sock, tempfile.TemporaryFile() as file:
        file.write(body)
        file.flush()
        sock.sendall(post(body))
        _sendfile(sock, file, len(body))
        expect(sock)


def sendfile_all(port):
    """Head and body come from a file."""
    body = noise(100_000) + END
    text = post(body) + body
    with dial(port) as sock, tempfile.TemporaryFile() as file:
        file.write(text)
        file.flush()
        _sendfile(sock, file, len(text))
        expect(sock)


def _sendfile(sock, file, length):
    sock.setblocking(True)
    offset = 0
    while offset < length:
        offset += os.sendfile(sock.fileno(), file.fileno(), offset, length - offset)


def small_send_buffer(port):
    with dial(port, send_buffer=4096) as sock:
        for size in (10, 4000, 300_000):
            body = noise(size) + END
            sock.sendall(post(body) + body)
            expect(sock)


def nonblocking(port):
    """Partial sends through a small buffer to a slow reader; requests follow each other without a wait between body and head."""
    with dial(port, send_buffer=4096) as sock:
        sock.setblocking(False)
        for number in range(30):
            body = noise(1000 * number, number) + END
            _send_all_nonblocking(sock, post(body, f"/{number}") + body)
            if number % 3 == 2:
                for _ in range(3):
                    _wait(sock, select.POLLIN)
                    sock.setblocking(True)
                    expect(sock)
                    sock.setblocking(False)


def _send_all_nonblocking(sock, data):
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            _wait(sock, select.POLLOUT)


def _wait(sock, event):
    poll = select.poll()
    poll.register(sock, event)
    assert poll.poll(60_000)


def more_to_come(port):
    """MSG_MORE and TCP_CORK between head and body."""
    body = noise(500) + END
    with dial(port) as sock:
        sock.send(post(body), socket.MSG_MORE)
        sock.sendall(body)
        expect(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        sock.sendall(post(body))
        sock.sendall(body)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        expect(sock)


def nagle(port):
    """Small writes without TCP_NODELAY."""
    with dial(port) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        for number in range(5):
            body = noise(50, number) + END
            text = post(body)
            sock.sendall(text[:20])
            sock.sendall(text[20:])
            sock.sendall(body)
            expect(sock)


def fionread(port):
    """What nginx, Java and .NET ask before they read."""
    waiting = []
    with dial(port) as sock:
        for number in range(3):
            sock.sendall(head(target=f"/{number}"))
            _wait(sock, select.POLLIN)
            count = array.array("i", [0])
            fcntl.ioctl(sock, termios.FIONREAD, count)
            waiting.append(count[0])
            expect(sock)
    assert waiting == [len(OK)] * 3, waiting
    return waiting
