"""A service behind Gateward: every request must carry the gateway's assertion, and the answer says who it is from."""

import json
import os
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from gateway import HEADER, Gateway, KeySet, Refused

ISSUER = os.environ["ISSUER"]
KEYS = KeySet(
    os.environ.get("JWKS_URI", f"{ISSUER}/.well-known/jwks.json"),
    float(os.environ.get("JWKS_COOLDOWN_SECONDS", "10")),
)
GATEWAY = Gateway(ISSUER, os.environ["BASE_URL"], KEYS)


class Service(BaseHTTPRequestHandler):
    """Answers who was let in."""

    def _answer(self) -> None:
        try:
            identity = GATEWAY.check(self.command, self.path, self.headers.get_all(HEADER, []))
        except Refused as refused:
            self._send(401, {"error": str(refused)}, {"WWW-Authenticate": HEADER})
            return
        self._send(200, {"identity": asdict(identity)}, {})

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer

    def _send(self, status: int, content: dict, headers: dict[str, str]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Service).serve_forever()
