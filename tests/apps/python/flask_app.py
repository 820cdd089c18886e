"""A relay on Flask and requests, for gunicorn: see threads.py for its interface.

$BACKEND_KEEP_ALIVE=1 uses one requests.Session per thread.
"""
import os
import threading

import requests
from flask import Flask, Response, request

BACKEND = os.environ["BACKEND"]
KEEP_ALIVE = os.environ.get("BACKEND_KEEP_ALIVE") == "1"
LOCAL = threading.local()
app = Flask(__name__)


def fetch(url):
    if not KEEP_ALIVE:
        return len(requests.get(url, timeout=60).content)
    if not hasattr(LOCAL, "session"):
        LOCAL.session = requests.Session()
    return len(LOCAL.session.get(url, timeout=60).content)


@app.route("/relay", methods=["GET", "POST"])
def relay():
    request.get_data()
    count = int(request.args.get("n", 1))
    lengths = [fetch(f"{BACKEND}/out/{request.args['id']}/{k}") for k in range(1, count + 1)]
    return Response("".join(f"{length}\n" for length in lengths), mimetype="text/plain")
