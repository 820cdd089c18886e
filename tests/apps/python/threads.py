"""A relay on ThreadingHTTPServer and http.client.

GET or POST /relay?id=ID&n=K[&via=direct|thread|pool|fork|curl|shell|subshell|background] calls $BACKEND/out/ID/1 … K
and answers with the length of each reply, one a line.
$BACKEND_KEEP_ALIVE=1 keeps one backend connection per thread.
"""
import http.client
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BACKEND = urlsplit(os.environ["BACKEND"])
KEEP_ALIVE = os.environ.get("BACKEND_KEEP_ALIVE") == "1"
LOCAL = threading.local()
POOL = ThreadPoolExecutor(max_workers=16)  # grows as it is used, shared by all requests


def connect():
    return http.client.HTTPConnection(BACKEND.hostname, BACKEND.port, timeout=60)


def fetch(path):
    if not KEEP_ALIVE:
        connection = connect()
        try:
            connection.request("GET", path)
            return len(connection.getresponse().read())
        finally:
            connection.close()
    if not hasattr(LOCAL, "connection"):
        LOCAL.connection = connect()
    LOCAL.connection.request("GET", path)
    return len(LOCAL.connection.getresponse().read())


def by_thread(path):
    result = []
    thread = threading.Thread(target=lambda: result.append(fetch(path)))
    thread.start()
    thread.join()
    return result[0]


def by_pool(path):
    return POOL.submit(fetch, path).result()


def by_curl(path):
    command = ["curl", "-sS", "--noproxy", "*", BACKEND.geturl() + path]
    return len(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def by_shell(path):
    # The shell has something left to do, and so a child that becomes curl.
    command = ["sh", "-c", "curl -sS --noproxy '*' \"$0\"; true", BACKEND.geturl() + path]
    return len(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def by_subshell(path):
    # The shell's children are shells, too.
    script = "reply=$(curl -sS --noproxy '*' \"$0\" | cat; true); printf %s \"$reply\""
    return len(subprocess.run(["sh", "-c", script, BACKEND.geturl() + path], check=True, stdout=subprocess.PIPE).stdout)


def by_fork(path):
    ours, childs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(childs, str(fetch(path)).encode())
        finally:
            os._exit(0)
    os.close(childs)
    with open(ours) as answer:
        length = int(answer.read())
    os.waitpid(child, 0)
    return length


CALLS = {
    "direct": fetch,
    "background": fetch,
    "thread": by_thread,
    "pool": by_pool,
    "fork": by_fork,
    "curl": by_curl,
    "shell": by_shell,
    "subshell": by_subshell,
}


class Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        if "id" not in query:
            return self.answer(404, "no id\n")
        count, via = int(query.get("n", 1)), query.get("via", "direct")
        paths = [f"/out/{query['id']}/{k}" for k in range(1, count + 1)]
        self.answer(200, "".join(f"{CALLS[via](path)}\n" for path in paths))
        if via == "background":  # the same thread goes on after it has answered
            for k in range(1, count + 1):
                fetch(f"/after/{query['id']}/{k}")

    do_POST = do_GET

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 256


if __name__ == "__main__":
    Server(("127.0.0.1", int(os.environ["PORT"])), Relay).serve_forever()
