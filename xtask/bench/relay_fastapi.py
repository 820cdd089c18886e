"""The benchmark's relay on FastAPI and httpx, run by uvicorn: case (d)."""
import os
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

BACKEND = os.environ["BACKEND"]


@asynccontextmanager
async def lifespan(app):
    # No look at the environment's proxies: the backend is on the loopback interface.
    async with httpx.AsyncClient(base_url=BACKEND, trust_env=False) as app.state.client:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/relay", response_class=PlainTextResponse)
async def relay():
    return (await app.state.client.get("/relay")).text
