"""An OpenID provider as a process, made of Authlib's server: `python provider.py PORT ISSUER USERS`.

It demands PKCE and the client's secret, signs with RS256 and lets devices log in (RFC 8628). Whose account is
meant is in the form, since these tests are about what comes after: USERS maps names to claims (JSON). `POST
/spoil` says how the next ID token is to be wrong.
"""

import base64
import hmac
import json
import sys
import time
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, grants
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc8628 import (
    DeviceAuthorizationEndpoint,
    DeviceCodeGrant,
    DeviceCredentialDict,
)
from authlib.oidc.core.grants import OpenIDCode
from flask import Flask, jsonify, request
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "wardround", "a secret of the client: +/%"
PORT, ISSUER, USERS = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])


class Client(ClientMixin):
    def get_client_id(self) -> str:
        return CLIENT

    def get_default_redirect_uri(self) -> str:
        return ""

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, uri: str) -> bool:
        return uri.endswith("/log-in/oidc/back")

    def check_client_secret(self, secret: str) -> bool:
        return secret == SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_response_type(self, kind: str) -> bool:
        return kind == "code"

    def check_grant_type(self, kind: str) -> bool:
        return True


class Code(dict[str, Any]):
    def get_redirect_uri(self) -> str:
        return self["redirect_uri"]

    def get_scope(self) -> str:
        return self["scope"]

    def get_nonce(self) -> str | None:
        return self["nonce"]

    def get_auth_time(self) -> int:
        return int(time.time())

    @property
    def code_challenge(self) -> str:
        return self["challenge"]

    @property
    def code_challenge_method(self) -> str:
        return "S256"


PAGE = """<!doctype html><html lang="en"><title>Provider</title><h1>Provider</h1><form method="post">
<label for="user">Account</label><input id="user" name="user"><button>Log in</button></form>"""
app = Flask(__name__)
keys = [RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})]
codes: dict[str, Code] = {}
devices: dict[str, DeviceCredentialDict] = {}
confirmed: dict[str, tuple[str, bool]] = {}
spoiled: list[str] = []
server = AuthorizationServer(
    app, query_client=lambda name: Client() if name == CLIENT else None, save_token=lambda token, asked: None
)


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def id_token(user: str, nonce: str | None) -> str:
    """Sign who has logged in; once in a wrong way where it was asked for."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": CLIENT, "sub": f"id-{user}", "iat": now, "exp": now + 300, **USERS[user]}
    if nonce:
        claims["nonce"] = nonce
    header, key = {"alg": "RS256", "kid": keys[0].kid}, keys[0]
    fault = spoiled.pop() if spoiled else ""
    if fault in {"none", "hs256"}:
        head = {"none": b'{"alg":"none"}', "hs256": b'{"alg":"HS256","kid":"one"}'}[fault]
        signed = f"{encoded(head)}.{jwt.encode(header, claims, key).split('.')[1]}"
        public = keys[0].as_pem(private=False)
        seal = hmac.digest(public, signed.encode(), "sha256") if fault == "hs256" else b""
        return f"{signed}.{encoded(seal)}"
    if fault == "key":
        key = RSAKey.generate_key(2048, {"kid": "one"})
    if fault == "new-key":
        keys.insert(0, RSAKey.generate_key(2048, {"kid": "two", "use": "sig"}))
        header, key = {"alg": "RS256", "kid": "two"}, keys[0]
    claims |= {
        "issuer": {"iss": "https://elsewhere.test"},
        "audience": {"aud": "another"},
        "two-audiences": {"aud": [CLIENT, "another"]},
        "party": {"azp": "another"},
        "expired": {"exp": now - 3600, "iat": now - 7200},
        "nonce": {"nonce": "x"},
    }.get(fault, {})
    return jwt.encode(header, claims, key)


class CodeGrant(grants.AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic",)

    def save_authorization_code(self, code: str, asked: Any) -> None:
        payload = asked.payload
        codes[code] = Code(
            user=asked.user,
            redirect_uri=payload.redirect_uri,
            scope=payload.scope,
            nonce=payload.data.get("nonce"),
            challenge=payload.data.get("code_challenge"),
        )

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        return codes.get(code)

    def delete_authorization_code(self, code: Code) -> None:
        for name in [name for name, one in codes.items() if one is code]:
            del codes[name]

    def authenticate_user(self, code: Code) -> str:
        return code["user"]


class Identity(OpenIDCode):
    def exists_nonce(self, nonce: str, asked: Any) -> bool:
        return any(code["nonce"] == nonce for code in codes.values())

    def encode_id_token(self, token: Any, asked: Any) -> str:
        return id_token(asked.user, asked.authorization_code["nonce"])


class OfDevice(DeviceCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic",)

    def query_device_credential(self, code: str) -> DeviceCredentialDict | None:
        return devices.get(code)

    def query_user_grant(self, user_code: str) -> tuple[str, bool] | None:
        return confirmed.get(user_code)

    def should_slow_down(self, credential: DeviceCredentialDict) -> bool:
        return False

    def create_token_response(self) -> Any:
        status, token, headers = super().create_token_response()
        token["id_token"] = id_token(self.request.user, None)
        return status, token, headers


class Devices(DeviceAuthorizationEndpoint):
    CLIENT_AUTH_METHODS = ("client_secret_basic",)
    INTERVAL = 1

    def get_verification_uri(self) -> str:
        return f"{ISSUER}/device"

    def save_device_credential(self, client: str, scope: str, data: dict[str, Any]) -> None:
        devices[data["device_code"]] = DeviceCredentialDict(client_id=client, scope=scope, **data)


server.register_grant(CodeGrant, [Identity(require_nonce=True), CodeChallenge(required=True)])
server.register_grant(OfDevice)
server.register_endpoint(Devices)


@app.get("/.well-known/openid-configuration")
def metadata() -> Any:
    return jsonify(
        issuer=ISSUER,
        authorization_endpoint=f"{ISSUER}/authorize",
        token_endpoint=f"{ISSUER}/token",
        jwks_uri=f"{ISSUER}/jwks",
        device_authorization_endpoint=f"{ISSUER}/device_authorization",
        token_endpoint_auth_methods_supported=["client_secret_basic"],
    )


@app.get("/jwks")
def jwks() -> Any:
    return jsonify(
        keys=[*(key.as_dict(private=False) for key in keys), {"kty": "oct", "k": "AAAA", "kid": "one"}]
    )


@app.route("/authorize", methods=["GET", "POST"])
def authorize() -> Any:
    if request.method == "GET":
        server.get_consent_grant(end_user=None)
        return PAGE
    user = request.form["user"]
    return server.create_authorization_response(grant_user=user if user in USERS else None)


@app.post("/token")
def token() -> Any:
    return server.create_token_response()


@app.post("/device_authorization")
def device_authorization() -> Any:
    return server.create_endpoint_response(Devices.ENDPOINT_NAME)


@app.post("/device")
def device() -> str:
    """Confirm or deny a device's code."""
    confirmed[request.form["user_code"]] = request.form["user"], request.form.get("allow") != "no"
    return "done"


@app.post("/spoil")
def spoil() -> str:
    spoiled.append(request.form["fault"])
    return "done"


if __name__ == "__main__":
    app.run("127.0.0.1", PORT)
