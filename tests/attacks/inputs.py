"""What services are told, asked and answered by attackers: tokens, lines, datagrams, answers."""

from __future__ import annotations

import base64
import json

DEEP = b"[" * 9000 + b"]" * 9000


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(header: bytes, payload: bytes = b"{}") -> str:
    return b".".join((b64(header), b64(payload), b64(bytes(64)))).decode()


HEADERS = (
    # Left open, for 12 KB: a header of more than 16 KB is refused for its size before anybody looks how deep it is.
    b'{"alg":"ES256","typ":"lykta-order","a":' + b"[" * 9000,
    b'{"alg":"ES256","typ":"lykta-order","a":' + DEEP + b"}",
    b'{"alg":"ES256","typ":"lykta-command","a":' + b"9" * 5000 + b"}",
    b'{"alg":"ES256","typ":["lykta-order"]}',
    b"\xff",
    b"[]",
)
TOKENS = (*map(token, HEADERS), token(b'{"alg":"ES256","typ":"lykta-order"}', DEEP), "", "a" * 60_000, "å.ö.ä")
VERBS = ("command", "order", "receipt", "heads", "press", "set", "carry", "outbox", "view_confirm", "picture", "end")
LINES = (
    *(
        DEEP,
        b"[" * 1024,
        b"{}",
        b"[]",
        b"null",
        b'"',
        b"",
        b"\xff\xfe",
        b'{"verb":["status"]}',
        b'{"verb":{}}',
        b'{"verb":"nobody"}',
    ),
    *(
        b'{"verb":"\\ud800"}',
        b'{"verb":1e400}',
        b'{"verb":"status","a":' + b"9" * 5000 + b"}",
        b'{"verb":"status","a":' + DEEP + b"}",
    ),
    b'{"verb":"heads","heads":{"io":"' + b"9" * 5000 + b":" + b"0" * 64 + b'"}}',
    b'{"verb":"heads","heads":[[]]}',
    b'{"verb":"order","jws":"' + b"a" * 700_000 + b'"}',
    b'{"verb":"command","jws":"' + b"a" * 700_000 + b'"}',
    *(json.dumps({"verb": verb, "jws": jws, "seq": jws, "name": jws}).encode() for verb in VERBS for jws in TOKENS[:3]),
    *(json.dumps({"verb": verb}).encode() for verb in ("command", "order", "receipt", "heads", "set", "carry")),
    *(json.dumps({"verb": verb, "jws": jws}).encode() for verb in ("command", "order", "receipt") for jws in TOKENS),
    *(b'{"verb":"set","name":{},"closed":[]}', b'{"verb":"outbox","seq":1e300}', b'{"verb":"outbox","seq":99999999999999999999}'),
    b'{"verb":"carry","kind":[],"name":{},"data":"\\u00e5"}',
)
DATAGRAMS = (
    *(b"[" * 1024, b"{" * 1024, b"", b"{}", b"[]", b"null", b"\xff" * 1024, b'{"kind":"help","id":"\\ud800","t_ms":1}'),
    *(b'{"kind":"help","id":"a","t_ms":1e400}', b'{"kind":"help","id":"a","t_ms":' + b"9" * 900 + b"}", b"a" * 5000),
    *(b'{"kind":["help"],"id":"a","t_ms":1}', b'{"kind":"help","id":"../../x","t_ms":1}', b'{"kind":"visit","id":"","t_ms":-1}'),
)
ANSWERS = (
    *(b"{}\n", b"[]\n", b"null\n", b"\n", b"", b"\xff\n", DEEP + b"\n", b'{"standing":{},"detail":{}}\n', b'{"error":[]}\n'),
    *(b'{"standing":[],"detail":[]}\n', b'{"standing":{"state":"ready","reason":"\\ud800"},"detail":{}}\n', b"a" * 700_000),
    b'{"standing":{"state":"ready","reason":"filming","since":"0001-01-01T00:00:00+14:00","until":null,"owner":"nobody"},"detail":{}}\n',
    b'{"standing":{"state":"ready","reason":"filming","since":"2026-01-01T00:00:00Z","until":null,"owner":"nobody"},"detail":'
    b'{"frames":' + b"9" * 4000 + b"}}\n",
)  # fmt: skip
