"""Create the pipeline's MLflow user. The source of this file runs in MLflow's own container, so it imports only the standard library.

It reads ``{"username": ..., "password": ...}`` from standard input and prints one word: ``created``, ``exists``, ``other-password`` or
``admin-rejected``. The administrator's password is in the container's environment, and no password leaves it.
"""

import base64
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request


def main(server: str) -> str:
    """Create the user if it is missing. Returns the word to print."""
    user = json.load(sys.stdin)
    own = (user["username"], user["password"])
    if _status(server, own, "experiments/search", {"max_results": 1}) == 200:
        return "exists"
    admin = (os.environ["MLFLOW_AUTH_ADMIN_USERNAME"], os.environ["MLFLOW_AUTH_ADMIN_PASSWORD"])
    query = urllib.parse.urlencode({"username": user["username"]})
    found = _status(server, admin, "users/get?" + query)
    if found == 401:
        return "admin-rejected"
    if found == 200:
        return "other-password"
    created = _status(server, admin, "users/create", user)
    if created != 200:
        raise SystemExit(f"MLflow answers users/create with {created}")
    return "created"


def _status(server: str, user: "tuple[str, str]", path: str, body: "dict[str, object] | None" = None) -> int:
    request = urllib.request.Request(server + "/api/2.0/mlflow/" + path)  # noqa: S310 (the server of this pod)
    request.add_header("Authorization", "Basic " + base64.b64encode(":".join(user).encode()).decode())
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


if __name__ == "__main__":
    print(main("http://127.0.0.1:5000"))
