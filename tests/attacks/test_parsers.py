"""14.A1: whatever bytes a parser of the node gets, it takes them or raises `LyktaError`; never anything else, never for long.

Three passes over all parsers together: the corpus of inputs that once broke one (tests/attacks/corpus, each replayed on every
parser), any bytes, and changes of what is taken. LYKTA_FUZZ_S bounds the last one, in seconds: 20 by default, 1800 in `make fuzz`.
"""

from __future__ import annotations

import base64
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.errors import LyktaError
from tests.attacks.parsers import NAMES, Parser, parsers
from tests.support.clip_node import ClipNode

FUZZ_S = float(os.environ.get("LYKTA_FUZZ_S", "20"))
SEED = int(os.environ.get("LYKTA_FUZZ_SEED", "14"))
CORPUS = sorted(path for path in (Path(__file__).parent / "corpus").iterdir() if path.suffix != ".md")
LONGEST_S = 5.0
"""What one input may take of the processor, far more than any needs: a bound against what never ends."""
NASTY = (
    *(b"[" * 9000, b'{"a":' * 9000, b"[" * 9000 + b"]" * 9000, b"9" * 5000, b"-" + b"9" * 30, b"1e400", b"NaN", b"Infinity"),
    *(b'"\\ud800"', b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\0", b"\r", b"\n", b"null", b"{}", b"[]", b'""', b"-1", b"1e308"),
    *(b'"0001-01-01T00:00:00+14:00"', b'"9999-12-31T23:59:59-14:00"', b'"2026-01-01T00:00:00"', b'"2026-02-30T00:00:00Z"'),
    *(b"true", b".", b"=", b"a" * 70_000, b"[[[[[[[[[[[[[[[[[[[[", b"\xe2\x80\xae", "٣".encode(), "²".encode()),
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Parser]]:
    clip_node = ClipNode(tmp_path_factory.mktemp("parsers"))
    yield parsers(clip_node)
    clip_node.close()


def takes_or_refuses(parser: Parser, data: bytes) -> None:
    begin = time.process_time()
    try:
        parser.read(data)
    except LyktaError as problem:
        str(problem).encode()
        problem.hint.encode()
    assert time.process_time() - begin < LONGEST_S


@pytest.mark.parametrize("name", NAMES)
def test_a_parser_takes_its_seeds(table: dict[str, Parser], name: str) -> None:
    """Else the fuzz would turn about nothing. Some seeds are there to be refused: at least one is taken."""
    taken = 0
    for seed in table[name].seeds:
        try:
            table[name].read(seed)
            taken += 1
        except LyktaError:
            continue
    assert taken


@pytest.mark.parametrize("name", NAMES)
def test_the_corpus(table: dict[str, Parser], name: str) -> None:
    for path in CORPUS:
        takes_or_refuses(table[name], path.read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_each_seed_with_something_nasty_anywhere(table: dict[str, Parser], name: str) -> None:
    parser, chance = table[name], random.Random(name)
    for seed in parser.seeds:
        for nasty in NASTY:
            takes_or_refuses(parser, nasty)
            for at in (0, len(seed), chance.randrange(len(seed) + 1)):
                takes_or_refuses(parser, seed[:at] + nasty + seed[at:])


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=max(20, int(FUZZ_S * 2)), suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=400) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes(table: dict[str, Parser], name: str, data: bytes) -> None:
    takes_or_refuses(table[name], data)


def test_changes_of_what_is_taken(table: dict[str, Parser]) -> None:
    """All parsers in turn, until the time is up. A failure names parser, seed of the draw and the bytes: keep them in corpus/."""
    chance, end, tried = random.Random(SEED), time.monotonic() + FUZZ_S, 0
    while time.monotonic() < end:
        for name, parser in table.items():
            data = changed(chance.choice(parser.seeds), chance)
            try:
                takes_or_refuses(parser, data)
            except BaseException as problem:
                problem.add_note(f"parser {name!r}, LYKTA_FUZZ_SEED={SEED}, input in base64: {base64.b64encode(data).decode()}")
                raise
            tried += 1
    assert tried >= len(table)


def changed(data: bytes, chance: random.Random) -> bytes:
    """One to four changes; of a signed record also inside its parts."""
    if data.startswith(b"eyJ") and data.count(b".") == 2 and chance.random() < 0.7:
        parts = data.split(b".")
        at = chance.randrange(3)
        inner = base64.urlsafe_b64decode(parts[at] + b"==")
        parts[at] = base64.urlsafe_b64encode(_changed(inner, chance)).rstrip(b"=")
        return b".".join(parts)
    if b"-----BEGIN" in data and chance.random() < 0.7:
        head, body, tail = data.partition(b"\n")[0], b"".join(data.splitlines()[1:-1]), data.splitlines()[-1]
        return head + b"\n" + base64.encodebytes(_changed(base64.b64decode(body), chance)) + tail + b"\n"
    return _changed(data, chance)


def _changed(data: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 4)):
        at, end = sorted((chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)))
        match chance.randrange(6):
            case 0:
                data = data[:at] + chance.choice(NASTY) + data[at:]
            case 1:
                data = data[:at] + chance.choice(NASTY) + data[end:]
            case 2:
                data = data[:at] + data[end:]
            case 3:
                data = data[:at] + data[at:end] * 2 + data[end:]
            case 4:
                data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
            case _:
                data = data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :] if at < len(data) else data
    return data
