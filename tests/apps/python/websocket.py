"""A WebSocket server on aiohttp: for each message it calls $BACKEND/of-a-message, and answers "ok"."""
import os

from aiohttp import ClientSession, web


async def talk(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async with ClientSession() as session:
        async for _ in socket:
            async with session.get(os.environ["BACKEND"] + "/of-a-message") as response:
                await response.read()
            await socket.send_str("ok")
    return socket


app = web.Application()
app.router.add_get("/talk", talk)
web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=None)
