"""The benchmark's relay on Flask and requests, run by gunicorn."""
import os
import threading

import requests
from flask import Flask, Response, request

BACKEND = os.environ["BACKEND"]
FORWARD = os.environ.get("FORWARD")
LOCAL = threading.local()
app = Flask(__name__)


@app.route("/relay")
def relay():
    if not hasattr(LOCAL, "session"):
        LOCAL.session = requests.Session()
        # No look at the environment's proxies: the backend is on the loopback interface.
        LOCAL.session.trust_env = False
    own = {FORWARD: request.headers[FORWARD]} if FORWARD and FORWARD in request.headers else None
    return Response(LOCAL.session.get(BACKEND + "/relay", headers=own).content, mimetype="text/plain")
