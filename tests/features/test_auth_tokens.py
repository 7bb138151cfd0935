"""Access tokens: what is accepted (our own) and what is not (everything else)."""

import asyncio
import base64
import json
import time
from datetime import UTC, datetime

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

from baas.infra.crypto.secretbox import SecretBox
from baas.infra.db.sql import ident, sql
from tests.support.callers import Caller

ALICE = ec.generate_private_key(ec.SECP256R1())


def b64(data):
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


async def own_key(db, project, settings):
    """The project's real private key and its id, opened as the server does."""
    row = await db.fetch_row(sql("select id, private_key from {}", ident(project.schema, "_token_keys")))
    box = SecretBox(settings.secret_key.reveal().encode())
    der = box.open(row["private_key"], purpose=f"token key {project.id} {row['id']}")
    return row["id"], load_der_private_key(der, password=None)


@pytest.fixture
async def forge(project, operator, db, settings):
    """Makes tokens as the server would, changed where asked: `signed(claims=…, headers=…, key=…)`."""
    user = await project.user()
    kid, private = await own_key(db, project, settings)
    now = int(time.time())
    genuine = {
        "iss": f"{settings.url}/v1/projects/{project.id}",
        "aud": project.id,
        "sub": user.id,
        "sid": user.session["session_id"],
        "iat": now,
        "exp": now + 600,
    }

    def signed(changes=None, *, headers=None, key=private, algorithm="ES256"):
        claims = {name: value for name, value in (genuine | (changes or {})).items() if value is not None}
        head = {name: value for name, value in ({"kid": kid, "typ": "at+jwt"} | (headers or {})).items() if value != ""}
        return jwt.api_jws.encode(json.dumps(claims).encode(), key, algorithm=algorithm, headers=head)

    signed.user, signed.kid, signed.private, signed.genuine = user, kid, private, genuine
    return signed


def raw(header, claims, signature=b""):
    return f"{b64(header)}.{b64(claims)}.{b64(signature)}"


def mac(secret, kid, claims):
    """HS256 by hand: libraries refuse to take a public key for a secret, attackers do not."""
    import hashlib
    import hmac

    head = f"{b64({'alg': 'HS256', 'kid': kid, 'typ': 'at+jwt'})}.{b64(claims)}"
    return f"{head}.{b64(hmac.new(secret, head.encode(), hashlib.sha256).digest())}"


async def test_the_forge_works(forge, project):
    """The control: signed with the right key and unchanged, a token of the forge is as good as the server's own."""
    answer = await Caller(project.anonymous.http, project.anonymous.base, forge()).get("auth/me")

    assert answer.status_code == 200
    assert answer.json()["id"] == forge.user.id


async def test_no_forged_token_is_accepted(forge, project, operator, db, settings):
    """I4: algorithms, keys, types, issuers, audiences, times, headers, damage."""
    public = forge.private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    jwks = (await project.anonymous.get(".well-known/jwks.json")).json()
    own = {"alg": "ES256", "kid": forge.kid, "typ": "at+jwt"}
    attackers_jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(ALICE.public_key()))
    other = (await operator.post("projects", json={"name": "x" + project.name})).json()
    other_kid, other_key = await own_key(db, type(project)(other["name"], other["id"], other["schema"], None, None), settings)
    genuine, now = forge.genuine, int(time.time())
    head, payload, signature = forge.user.token.split(".")
    flipped = bytearray(base64.urlsafe_b64decode(signature + "=="))
    flipped[5] ^= 1

    forged = {
        "no algorithm": raw({"alg": "none", "kid": forge.kid, "typ": "at+jwt"}, genuine),
        "no algorithm, signed": raw({"alg": "none", "kid": forge.kid, "typ": "at+jwt"}, genuine, b"x" * 64),
        "None": raw({"alg": "None", "kid": forge.kid, "typ": "at+jwt"}, genuine),
        "no alg member": raw({"kid": forge.kid, "typ": "at+jwt"}, genuine, b"x" * 64),
        "empty signature": raw(own, genuine),
        "zero signature": raw(own, genuine, b"\0" * 64),
        "public key as secret, PEM": mac(pem, forge.kid, genuine),
        "public key as secret, DER": mac(der, forge.kid, genuine),
        "public key as secret, JWK": mac(json.dumps(jwks["keys"][0]).encode(), forge.kid, genuine),
        "public key as secret, x": mac(base64.urlsafe_b64decode(jwks["keys"][0]["x"] + "=="), forge.kid, genuine),
        "another key": forge(key=ALICE),
        "another curve": forge(key=ec.generate_private_key(ec.SECP384R1()), algorithm="ES384"),
        "RSA": forge(key=rsa.generate_private_key(65537, 2048), algorithm="RS256"),
        "unknown key id": forge(headers={"kid": "nobody"}),
        "key id of another project": forge(headers={"kid": other_kid}),
        "key of another project": forge(headers={"kid": other_kid}, key=other_key),
        "no key id": forge(headers={"kid": ""}),
        "key id is a path": forge(headers={"kid": "../../dev/null"}),
        "key id is SQL": forge(headers={"kid": "' or 1=1 --"}),
        "another type": forge(headers={"typ": "JWT"}),
        "no type": raw({"alg": "ES256", "kid": forge.kid}, genuine, b"x" * 64),
        "type in capitals": forge(headers={"typ": "AT+JWT"}),
        "own key inside": forge(key=ALICE, headers={"jwk": attackers_jwk}),
        "own key by address": forge(key=ALICE, headers={"jku": "http://127.0.0.1:1/jwks.json"}),
        "certificate by address": forge(key=ALICE, headers={"x5u": "http://127.0.0.1:1/x.pem"}),
        "critical header": forge(headers={"crit": ["exp"]}),
        "unknown header": forge(headers={"zip": "DEF"}),
        "another issuer": forge({"iss": "https://evil.example"}),
        "issuer of another project": forge({"iss": f"{settings.url}/v1/projects/{other['id']}"}),
        "issuer as list": forge({"iss": [genuine["iss"]]}),
        "no issuer": forge({"iss": None}),
        "another audience": forge({"aud": other["id"]}),
        "audience by name": forge({"aud": project.name}),
        "audiences": forge({"aud": [project.id, other["id"]]}),
        "audience as list": forge({"aud": [project.id]}),
        "no audience": forge({"aud": None}),
        "expired": forge({"exp": now - 1}),
        "never expires": forge({"exp": None}),
        "expires as text": forge({"exp": "9999999999"}),
        "expires as fraction": forge({"exp": 9999999999.5}),
        "no token at all": '{"exp"',
        "no subject": forge({"sub": None}),
        "subject as number": forge({"sub": 7}),
        "no session": forge({"sid": None}),
        "session as list": forge({"sid": ["x"]}),
        "no issue time": forge({"iat": None}),
        "damaged signature": f"{head}.{payload}.{b64(bytes(flipped))}",
        "cut signature": f"{head}.{payload}.{signature[:-4]}",
        "no signature": f"{head}.{payload}",
        "empty third part": f"{head}.{payload}.",
        "a fourth part": f"{forge.user.token}.{signature}",
        "another payload": f"{head}.{b64(genuine | {'sub': '00000000-0000-7000-8000-000000000000'})}.{signature}",
        "another header": f"{b64(own | {'cty': 'x'})}.{payload}.{signature}",
        "header is a list": raw([own], genuine, b"x" * 64),
        "header is deep": raw({"alg": "ES256", "typ": json.loads("[" * 900 + "]" * 900)}, genuine),
        "payload is a list": jwt.api_jws.encode(b"[]", forge.private, algorithm="ES256", headers=own),
        "payload is no JSON": jwt.api_jws.encode(b"{", forge.private, algorithm="ES256", headers=own),
        "payload is encrypted in name": raw({"alg": "ECDH-ES", "enc": "A256GCM", "typ": "at+jwt"}, genuine, b"x" * 64),
        "refresh token": forge.user.session["refresh_token"],
        "very long": forge({"pad": "x" * 20000}),
        "dots": "...",
        "one part": "eyJhbGciOiJub25lIn0",
        "unicode": "é.é.é".encode().decode("latin-1"),
    }  # fmt: skip
    statuses = {}
    for name, token in forged.items():
        try:
            answer = await Caller(project.anonymous.http, project.anonymous.base, token).get("auth/me")
        except (httpx2.LocalProtocolError, UnicodeEncodeError):
            continue
        statuses[name] = answer.status_code
        assert "www-authenticate" in answer.headers, name
    accepted = [name for name, status in statuses.items() if status < 400]
    print("forged tokens:", len(statuses), "accepted:", len(accepted))

    assert accepted == []
    assert {name: status for name, status in statuses.items() if status != 401} == {}


async def test_a_token_is_nothing_in_another_project(forge, project, operator):
    """Also after the token is known by heart, and also at the routes where anonymous callers may come."""
    other = f"y{project.name}"
    await operator.post("projects", json={"name": other})
    user = forge.user
    assert (await user.get("auth/me")).status_code == 200
    for path in ("auth/me", ".well-known/jwks.json"):
        answer = await user.get(f"/v1/projects/{other}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (401, "bad_token")
    refreshed = await user.http.post(f"/v1/projects/{other}/auth/refresh", json={"refresh_token": user.session["refresh_token"]})
    assert refreshed.status_code == 401
    outside = await user.get("/v1/projects")
    assert outside.status_code == 403


async def test_a_known_token_still_expires(forge, project):
    """The cache of verified tokens does not outlive the token."""
    caller = Caller(project.anonymous.http, project.anonymous.base, forge({"exp": int(time.time()) + 2}))
    assert (await caller.get("auth/me")).status_code == 200
    await asyncio.sleep(2.1)

    assert (await caller.get("auth/me")).status_code == 401


async def test_published_keys_verify_and_hold_nothing_private(project):
    user = await project.user()
    answer = await project.anonymous.get(".well-known/jwks.json")
    (key,) = answer.json()["keys"]
    claims = jwt.decode(user.token, jwt.PyJWK(key), algorithms=["ES256"], audience=project.id)

    assert set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    assert claims["sub"] == user.id
    assert claims["exp"] - claims["iat"] == 900
    assert jwt.get_unverified_header(user.token) == {"alg": "ES256", "kid": key["kid"], "typ": "at+jwt"}
    assert answer.headers["cache-control"] == "public, max-age=300"


async def signing_keys(project):
    """Id -> whether it signs, newest first."""
    answer = await project.operator.get("auth/signing-keys")
    assert answer.status_code == 200, answer.text
    return {key["id"]: key["signs"] for key in answer.json()["items"]}


async def published(project):
    return [key["kid"] for key in (await project.anonymous.get(".well-known/jwks.json")).json()["keys"]]


async def test_a_new_key_signs_at_once_and_the_one_before_verifies_on(project, forge):
    """S4: what is known by heart, and what this server has never seen."""
    (old,) = await signing_keys(project)
    answer = await project.operator.post("auth/signing-keys")
    assert answer.status_code == 201, answer.text
    made, (_, retiring) = answer.json(), (await project.operator.get("auth/signing-keys")).json()["items"]
    later = await project.user()

    assert (made["signs"], made["retires_at"]) == (True, None)
    assert set(made) == {"id", "signs", "created_at", "retires_at"}
    assert await signing_keys(project) == {made["id"]: True, old: False}
    assert set(await published(project)) == {made["id"], old}
    assert jwt.get_unverified_header(later.token)["kid"] == made["id"]
    # Not before the last token that it may have signed has ended, and not for ever.
    lives_s = (datetime.fromisoformat(retiring["retires_at"]) - datetime.now(UTC)).total_seconds()
    assert 900 < lives_s < 1000
    for token in (forge.user.token, forge(), later.token):
        assert (await Caller(project.anonymous.http, project.anonymous.base, token).get("auth/me")).status_code == 200


async def test_a_dropped_key_is_nothing_at_once(project, forge):
    """S4: tokens known by heart too, through every door; the session lives on and gets a token of the new key."""
    old = forge.kid
    made = (await project.operator.post("auth/signing-keys")).json()
    later = await project.user()
    assert (await forge.user.get("auth/me")).status_code == 200

    assert (await project.operator.delete(f"auth/signing-keys/{old}")).status_code == 204
    for token in (forge.user.token, forge()):
        answer = await Caller(project.anonymous.http, project.anonymous.base, token).get("auth/me")
        assert (answer.status_code, answer.json()["code"]) == (401, "bad_token")
    assert (await later.get("auth/me")).status_code == 200
    assert await published(project) == [made["id"]]
    again = await project.anonymous.post("auth/refresh", json={"refresh_token": forge.user.session["refresh_token"]})
    assert jwt.get_unverified_header(again.json()["access_token"])["kid"] == made["id"]
    assert (await project.operator.delete(f"auth/signing-keys/{old}")).status_code == 404


async def test_a_project_is_never_without_a_key_to_sign_with(project):
    """When the one that signs is dropped, a new one takes its place, not one that is about to retire."""
    user = await project.user()
    (first,) = await signing_keys(project)
    assert (await project.operator.delete(f"auth/signing-keys/{first}")).status_code == 204
    (second,) = await signing_keys(project)
    assert (await user.get("auth/me")).status_code == 401
    assert await published(project) == [second] != [first]
    third = (await project.operator.post("auth/signing-keys")).json()["id"]
    assert (await project.operator.delete(f"auth/signing-keys/{third}")).status_code == 204

    fourth, *others = await signing_keys(project)
    assert (others, await signing_keys(project)) == ([second], {fourth: True, second: False})
    assert (await (await project.user()).get("auth/me")).status_code == 200


async def test_keys_are_exchanged_at_once_by_many_and_not_without_end(project):
    """One signs, the others retire; ten at most."""
    answers = await asyncio.gather(*(project.operator.post("auth/signing-keys") for _ in range(12)))
    statuses = sorted(answer.status_code for answer in answers)

    assert statuses == [201] * 9 + [409] * 3
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"too_many_signing_keys"}
    keys = (await project.operator.get("auth/signing-keys")).json()["items"]
    assert [key["retires_at"] is None for key in keys] == [True] + [False] * 9
    assert [key["signs"] for key in keys] == [True] + [False] * 9


async def test_keys_that_have_retired_verify_nothing_and_go(project, db, forge):
    """An instant later than the last token that they signed."""
    await project.operator.post("auth/signing-keys")
    table = ident(project.schema, "_token_keys")
    await db.execute(sql("update {} set retires_at = now() where id = {}", table, forge.kid))
    second = (await project.operator.post("auth/signing-keys")).json()["id"]

    assert [second, True] == [next(iter(found := await signing_keys(project))), forge.kid not in found]
    assert forge.kid not in await published(project)
    assert await db.fetch_value(sql("select count(*) from {} where id = {}", table, forge.kid)) == 0
    assert (await Caller(project.anonymous.http, project.anonymous.base, forge()).get("auth/me")).status_code == 401


async def test_only_operators_exchange_keys(project):
    """Whoever held one could be every user: no key, no user, nobody else; and the secret halves are in no answer."""
    (kid,) = await signing_keys(project)
    calls = (("GET", ""), ("POST", ""), ("DELETE", f"/{kid}"))
    for caller, status in ((await project.key(), 403), (await project.user(), 403), (project.anonymous, 401)):
        for method, path in calls:
            assert (await caller.request(method, f"auth/signing-keys{path}")).status_code == status
    for odd in ("nobody", "%00", "..%2f..", "'"):
        assert (await project.operator.delete(f"auth/signing-keys/{odd}")).status_code in (400, 404)
    assert await signing_keys(project) == {kid: True}


async def test_a_project_that_was_renamed_keeps_its_sessions(project, operator):
    user = await project.user()
    renamed = f"r{project.name}"
    await operator.patch(f"projects/{project.name}", json={"name": renamed})

    assert (await user.get(f"/v1/projects/{renamed}/auth/me")).status_code == 200
    refreshed = await user.http.post(
        f"/v1/projects/{renamed}/auth/refresh", json={"refresh_token": user.session["refresh_token"]}
    )
    assert refreshed.status_code == 200
