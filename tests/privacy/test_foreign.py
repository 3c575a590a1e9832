"""Bytes of another trust domain become objects of ours or a `RecordError`, never another exception (R47, 14.A1)."""

from __future__ import annotations

import json
import logging.config
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from agent.runtime.foreign_input import handling
from agent.runtime.service import tell
from privacy.errors import LyktaError, RecordError
from privacy.foreign import DEEPEST, LONGEST, decode, moment
from privacy.logs import log_of
from privacy.records.jws import kind_of, peek, token_id
from tests.support.linting import banned
from tests.support.nodes import MODELS, PROJECT


class Note(Struct, frozen=True):
    name: str
    count: int = 0
    seconds: float = 0.0
    at: datetime | None = None
    more: dict[str, object] | None = None


DEEP = b'{"name":"a","unknown":' + b"[" * 9000 + b"]" * 9000 + b"}"


@pytest.mark.parametrize(
    "data",
    [
        DEEP,
        b"[" * 9000,
        b'{"a":' * 9000,
        b'{"name":"a","unknown":' + b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1) + b"}",
        b'{"name":"\xff"}',
        b'{"name":"\xed\xa0\x80"}',
        b'{"name":"\\ud800"}',
        b'{"name":"a","count":' + b"9" * 5000 + b"}",
        b'{"name":"a","unknown":' + b"9" * 5000 + b"}"[:0],
        b'{"name":"a","seconds":1e400}',
        b'{"name":"a","seconds":NaN}',
        b'{"name":"a","at":"2026-01-01T00:00:00"}',
        b'{"name":"a","at":"0001-01-01T00:00:00+14:00"}',
        b'{"name":"a","at":"9999-12-31T23:59:59-14:00"}',
        b'{"name":"' + b"a" * LONGEST + b'"}',
        b"{}",
        b"[]",
        b"",
        b"null",
    ],
)
def test_what_does_not_fit_is_refused(data: bytes) -> None:
    with pytest.raises(RecordError):
        decode(data, Note, "note")


def test_brackets_in_a_text_are_no_levels() -> None:
    assert decode(b'{"name":"' + b"[{" * 500 + b'\\"[["}', Note, "note").name.count("[") == 502


def test_a_moment_in_a_free_field_is_a_text() -> None:
    """Only what the type calls a moment is judged as one."""
    assert decode(b'{"name":"a","more":{"t":"0001-01-01T00:00:00"}}', Note, "note").more == {"t": "0001-01-01T00:00:00"}


@given(
    st.binary(max_size=300)
    | st.recursive(st.none() | st.text(), st.lists, max_leaves=20).map(lambda v: repr(v).encode("utf-8", "surrogatepass"))
)
def test_any_bytes(data: bytes) -> None:
    for read in (lambda: decode(data, Note, "note"), lambda: peek(data, "note", Note)):
        with pytest.raises(RecordError):
            read()
    assert kind_of(data) == ""


@given(st.text(max_size=40))
def test_any_text_as_a_moment(text: str) -> None:
    try:
        found = moment(text, "end")
    except RecordError:
        return
    assert found.astimezone(UTC) >= datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "header", [DEEP, b"[" * 9000, b"{}", b'{"alg":"ES256","typ":["x"]}', b'{"alg":"none","typ":"note"}', b"\xff"]
)
def test_a_header_of_anything(header: bytes) -> None:
    """A header nested 9,000 deep was a RecursionError that ended the service that read it."""
    from base64 import urlsafe_b64encode

    token = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in (header, b"{}", b"0" * 64))
    with pytest.raises(RecordError):
        peek(token, "note", Note)


def test_space_around_a_record_makes_no_other_record() -> None:
    """14.C9: node and ingest disagreed for ever about an order with one space behind it."""
    assert token_id(b"e30.e30.AAAA ") == token_id(b"e30.e30.AAAA\n") == token_id(b"e30.e30.BBBB") != token_id(b"e30.e31.AAAA")


# -- the rule that there is no other way -------------------------------------------------------------------------------------

WAYS = {
    "import json\njson.loads(b'')\n": "json.loads",
    "from json import loads\nloads(b'')\n": "json.loads",
    "import json, sys\njson.load(sys.stdin)\n": "json.load",
    "import msgspec\nmsgspec.json.decode(b'')\n": "msgspec.json.decode",
    "from msgspec.json import decode as d\nd(b'')\n": "msgspec.json.decode",
    "import msgspec\nmsgspec.json.Decoder(int)\n": "msgspec.json.Decoder",
    "import tomllib\n": "tomllib",
    "import pickle\n": "pickle",
    "from datetime import datetime\ndatetime.fromisoformat('')\n": "datetime.datetime.fromisoformat",
    "from cryptography import x509\nx509.load_pem_x509_certificates(b'')\n": "cryptography.x509.load_pem_x509_certificates",
}


@pytest.mark.parametrize("text", WAYS)
@pytest.mark.parametrize("place", ["agent", "drivers", "privacy", "provisioning"])
def test_make_check_refuses_another_way_of_decoding(text: str, place: str) -> None:
    """14.A1: a rule that a program keeps, and that bites in each package of the node."""
    found = banned(text, f"{place}/another.py")
    assert f"`{WAYS[text]}` is banned" in found


def test_the_one_place_may() -> None:
    assert banned("import msgspec\nmsgspec.json.decode(b'')\n", "privacy/foreign.py") == "All checks passed!\n"


# -- what is shown of it -------------------------------------------------------------------------------------------------

SAID = "\x1b[2J\nerror: forged\nhint: forged"


def told(err: str) -> None:
    assert "\x1b" not in err
    assert not [line for line in err.splitlines() if line.startswith(("error: forged", "hint: forged", "fault: forged"))]


def test_a_fault_of_ours_shows_what_it_quotes_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback ends with the exception's text, which may be what somebody else said."""
    with pytest.raises(LyktaError), handling("order"):
        raise ValueError(SAID)
    tell(ValueError(SAID))
    err = capsys.readouterr().err
    assert err.count("ValueError") >= 2
    told(err)


def test_the_log_of_a_server_shows_what_it_quotes_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(log_of("a-server"))
    try:
        raise ValueError(SAID)
    except ValueError:
        logging.getLogger("a-server.error").exception("trouble with %s", SAID)
    err = capsys.readouterr().err
    assert "ValueError" in err
    told(err)


def test_set_up_shows_what_it_quotes_as_text(tmp_path: Path) -> None:
    """What a package manager says stands in the error."""
    (tmp_path / "apt-get").write_text("#!/bin/sh\nprintf '\\033[2J\\nhint: forged\\n' >&2\nexit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    words = [sys.executable, "-m", "provisioning.setup.run", "--models", MODELS, "--video", tmp_path / "video.avi"]
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=PROJECT, env=environment)
    assert "apt-get download" in done.stderr
    told(done.stderr)


_AT_ONCE = """
import sys, threading
from msgspec import defstruct
from privacy.foreign import decode
sys.setswitchinterval(1e-6)
inside, beside = (b'"b%d":1' % n for n in range(12)), (b'"a%d":"x"' % n for n in range(20))
data = b'{"inner":[{' + b",".join(inside) + b"}]," + b",".join(beside) + b"}"
for _ in range(200):
    inner = defstruct("Inner", [(f"b{n}", int) for n in range(12)])
    outer = defstruct("Outer", [("inner", tuple[inner, ...]), *((f"a{n}", str | None) for n in range(20))])
    start, found = threading.Barrier(6), []
    def run():
        start.wait()
        found.append(decode(data, outer, "it"))
    threads = [threading.Thread(target=run) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [one.a19 for one in found] == ["x"] * 6
"""


def test_a_type_may_be_read_for_the_first_time_by_several_threads() -> None:
    """The first requests that came to the ingest at once ended it: a segmentation fault in msgspec 0.22."""
    done = subprocess.run([sys.executable, "-c", _AT_ONCE], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


_UNCLOSED = """
import resource
from privacy.errors import RecordError
from privacy.foreign import decode
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for data in (b'"' + b'\\\\"' * 500_000, b'"\\\\' * 300_000, b'[' * 20 + b'"' * 1_000_001):
    try:
        decode(data, dict, "it", most=1 << 21)
    except RecordError:
        continue
    raise SystemExit("taken")
"""


def test_quotes_that_do_not_close_take_one_pass() -> None:
    """64 KB of them held a service for 13 s, and 1 MB for an hour: every quote was tried as a beginning."""
    done = subprocess.run([sys.executable, "-c", _UNCLOSED], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@given(
    st.recursive(
        st.text() | st.integers(-9, 9), lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(), one, max_size=3)
    )
)
def test_brackets_in_strings_are_no_levels(found: object) -> None:
    def levels(one: object) -> int:
        inside = one.values() if isinstance(one, dict) else one if isinstance(one, list) else None
        return 0 if inside is None else 1 + max(map(levels, inside), default=0)

    data = json.dumps({"a": found}).encode()
    if levels(found) + 1 <= DEEPEST:
        assert decode(data, dict, "it") == {"a": found}
