"""The check of ``X-Gateway-Assertion``: everything else in a service can rely on the identity it gives, and on nothing else in the
request. Knows no web framework."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from dataclasses import dataclass

import jwt

HEADER = "X-Gateway-Assertion"
TYPE = "gateway-assertion+jwt"
LIFETIME = 30
"""How long an assertion holds, in seconds."""
CLOCK_SKEW = 5
"""How far the gateway's clock and ours may be apart, in seconds."""


class Refused(Exception):
    """Why a request is refused: for the log of whoever set the service up."""


@dataclass(frozen=True)
class Identity:
    """Who is behind a request, as the gateway vouches for it."""

    subject: str | None
    """Who calls; nobody on a route that needs no credential."""
    scopes: list[str]
    project: str
    service: str
    workspace_id: str | None
    client_id: str | None
    token_id: str | None
    request_id: str


class KeySet:
    """The gateway's keys: fetched when one is needed that is not known, but not more often than every few seconds, whatever is asked
    for; kept while a fetch fails."""

    KEPT_FOR = 300
    TIMEOUT = 5
    MAX_BYTES = 64 * 1024

    def __init__(self, uri: str, cooldown: float = 10) -> None:
        self._uri = uri
        self._cooldown = cooldown
        # Held while fetching: requests that need the same key wait for one fetch.
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = self._tried = float("-inf")

    def find(self, key_id: str) -> jwt.PyJWK | None:
        with self._lock:
            now = time.monotonic()
            known = key_id in self._keys and now - self._fetched < self.KEPT_FOR
            if not known and now - self._tried >= self._cooldown:
                self._tried = now
                try:
                    self._keys = self._fetch()
                    self._fetched = now
                except (OSError, ValueError, jwt.PyJWTError):
                    pass  # The last good ones stay.
            return self._keys.get(key_id)

    def _fetch(self) -> dict[str, jwt.PyJWK]:
        with urllib.request.urlopen(self._uri, timeout=self.TIMEOUT) as answer:
            document = json.loads(answer.read(self.MAX_BYTES))
        # Other kinds of keys are for tokens that do not concern us.
        return {
            key["kid"]: jwt.PyJWK(key)
            for key in document["keys"]
            if key.get("kty") == "OKP" and key.get("crv") == "Ed25519" and key.get("alg") == "EdDSA"
        }


class Gateway:
    """What assertions are checked against."""

    def __init__(self, issuer: str, base_url: str, keys: KeySet) -> None:
        """``issuer`` is the gateway's public URL, ``base_url`` this service's own as the gateway's configuration has it."""
        self._issuer = issuer
        self._base_url = base_url
        self._keys = keys

    def check(self, method: str, target: str, assertions: list[str]) -> Identity:
        """Who sent this request, if the gateway says so. ``target`` is path and query as in the request line, ``assertions`` are all
        values of the header."""
        if len(assertions) != 1:
            raise Refused("exactly one assertion is needed")
        [assertion] = assertions
        try:
            header = jwt.get_unverified_header(assertion)
            if header.get("typ") != TYPE:
                raise Refused("the token is not an assertion")
            key = self._keys.find(header.get("kid", ""))
            if key is None:
                raise Refused("the assertion names no key of the gateway")
            claims = jwt.decode(
                assertion,
                key,
                # The algorithm is ours, not the token's.
                algorithms=["EdDSA"],
                issuer=self._issuer,
                audience=self._base_url,
                leeway=CLOCK_SKEW,
                options={"require": ["iss", "aud", "exp", "iat", "jti", "htm", "htu", "project", "service"]},
            )
        except jwt.PyJWTError as error:
            raise Refused(str(error)) from error
        if claims["exp"] - claims["iat"] > LIFETIME:
            raise Refused("the assertion holds too long")
        if claims["aud"] != self._base_url:
            raise Refused("the assertion is for more than this service")
        if claims["htm"] != method or claims["htu"] != target:
            raise Refused("the assertion is for another request")
        return Identity(
            subject=claims.get("sub"),
            scopes=claims.get("scope", "").split(),
            project=claims["project"],
            service=claims["service"],
            workspace_id=claims.get("workspace_id"),
            client_id=claims.get("client_id"),
            token_id=claims.get("token_id"),
            request_id=claims["jti"],
        )
