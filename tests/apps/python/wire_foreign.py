"""Cases of other protocols: nothing may ever be inserted."""
import hashlib
import os
import socket
import subprocess

from wire_socket import DECOY, END, dial, expect, head, noise


def binary(port, seeds="20"):
    """Random binary protocols: frames of random sizes, some that begin as an HTTP request in mid-stream."""
    for seed in range(int(seeds)):
        with dial(port) as sock:
            sock.sendall(b"\x01\x02proto" + noise(50, seed))
            for number, size in enumerate(noise(40, seed)):
                sock.sendall(DECOY if number % 5 == 4 else noise(1 + size * (number + 1), seed * 1000 + number))
            sock.sendall(DECOY + noise(10) + head() + END)
            expect(sock)


def yamux(port):
    """Frames with 12-byte heads, whose payloads are HTTP requests in calls of their own."""
    with dial(port) as sock:
        for stream in range(1, 50, 2):
            payload = head(target=f"/{stream}")
            sock.sendall(b"\x00\x00\x00\x00" + stream.to_bytes(4, "big") + len(payload).to_bytes(4, "big"))
            sock.sendall(payload)
        sock.sendall(END)
        expect(sock)


def http2(port):
    """HTTP/2 with prior knowledge: preface, SETTINGS, and frames that hold what looks like HTTP/1."""
    with dial(port) as sock:
        sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
        for stream in range(1, 20, 2):
            sock.sendall(len(DECOY).to_bytes(3, "big") + b"\x00\x00" + stream.to_bytes(4, "big"))
            sock.sendall(DECOY)
        sock.sendall(END)
        expect(sock)


def redis(port):
    """SET and GET with values of all sizes, pipelined, some that look like HTTP; inline commands."""
    with dial(port) as sock:
        replies = sock.makefile("rb")
        for number, size in enumerate((1, 10, 1000, 16_384, 100_000, 1_000_000)):
            value = DECOY + noise(size, number)
            sock.sendall(_command(b"SET", b"key%d" % number, value) + _command(b"GET", b"key%d" % number))
            assert replies.readline() == b"+OK\r\n"
            assert replies.readline() == b"$%d\r\n" % len(value)
            assert replies.read(len(value) + 2) == value + b"\r\n"
        for inline in (b"GET key-that-is-not-there\r\n", b"PING\r\n"):
            sock.sendall(inline)
            assert replies.readline() in (b"$-1\r\n", b"+PONG\r\n")


def _command(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def redis_cli(port):
    script = "".join(f"SET k{number} {'v' * number}\nGET k{number}\n" for number in range(1, 300))
    return _run(["redis-cli", "-p", port], script)


def psql(port):
    script = """
        create temp table t (n int, v text);
        insert into t select n, repeat('GET / HTTP/1.1' || chr(13) || chr(10), n) from generate_series(1, 2000) n;
        copy (select * from t) to stdout;
        select 'GET / HTTP/1.1', md5(string_agg(v, ',' order by n)) from t;
    """
    return _run(["psql", "-X", "-q", "-h", "127.0.0.1", "-p", port, "-U", "postgres", "-v", "ON_ERROR_STOP=1"], script)


def _run(command, script):
    """The answer is shortened: what counts is that it is the same."""
    environment = {**os.environ, "PGCONNECT_TIMEOUT": "20", "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}
    finished = subprocess.run(command, input=script.encode(), env=environment, capture_output=True, timeout=60)
    assert finished.returncode == 0, finished.stderr
    return hashlib.sha256(finished.stdout).hexdigest()


def text_protocol(port):
    """As SMTP: lines, and then data that looks like an HTTP request."""
    with dial(port) as sock:
        sock.sendall(b"HELO a\r\n")
        expect(sock, b"220 ready\r\n")
        sock.sendall(DECOY)
        sock.sendall(END)
        sock.shutdown(socket.SHUT_WR)
        expect(sock)
