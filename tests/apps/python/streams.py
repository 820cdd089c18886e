"""A relay of its own making on asyncio's streams: each connection's task serves its requests, one after the other.

GET /relay?id=ID&n=1&via=HOW: task (the default) calls $BACKEND/out/ID/1 in a task of its own and answers with
the reply's length; late-task and late answer with nothing, and call $BACKEND/after/ID/1 a few milliseconds
later, in a task of their own or in the connection's.
"""
import asyncio
import os
from urllib.parse import parse_qs, urlsplit

BACKEND = urlsplit(os.environ["BACKEND"])


async def call(path):
    reader, writer = await asyncio.open_connection(BACKEND.hostname, BACKEND.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: backend\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return len(answer.split(b"\r\n\r\n", 1)[1])


async def serve(reader, writer):
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            break
        query = parse_qs(urlsplit(head.split(b" ")[1].decode()).query)
        identity, via = query["id"][0], query.get("via", ["task"])[0]
        body = b""
        if via == "task":
            body = b"%d\n" % await asyncio.create_task(call(f"/out/{identity}/1"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        if via == "task":
            continue
        await asyncio.sleep(0.005)  # the next request is read meanwhile
        if via == "late-task":
            await asyncio.create_task(call(f"/after/{identity}/1"))
        else:
            await call(f"/after/{identity}/1")
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ["PORT"]))
    async with server:
        await server.serve_forever()


asyncio.run(main())
