"""The benchmark's relay on FastAPI and httpx, run by uvicorn."""
import os
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse

BACKEND = os.environ["BACKEND"]
FORWARD = os.environ.get("FORWARD")


@asynccontextmanager
async def lifespan(app):
    # No look at the environment's proxies: the backend is on the loopback interface.
    async with httpx.AsyncClient(base_url=BACKEND, trust_env=False) as app.state.client:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/relay", response_class=PlainTextResponse)
async def relay(request: Request):
    own = {FORWARD: request.headers[FORWARD]} if FORWARD and FORWARD in request.headers else None
    return (await app.state.client.get("/relay", headers=own)).text
