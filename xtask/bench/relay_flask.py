"""The benchmark's relay on Flask and requests, run by gunicorn: case (c)."""
import os
import threading

import requests
from flask import Flask, Response

BACKEND = os.environ["BACKEND"]
LOCAL = threading.local()
app = Flask(__name__)


@app.route("/relay")
def relay():
    if not hasattr(LOCAL, "session"):
        LOCAL.session = requests.Session()
        # No look at the environment's proxies: the backend is on the loopback interface.
        LOCAL.session.trust_env = False
    return Response(LOCAL.session.get(BACKEND + "/relay").content, mimetype="text/plain")
