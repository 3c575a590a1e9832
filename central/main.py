"""`lykta-central`: the command line of the centre. Modules are imported by the command that needs them."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from privacy.errors import LyktaError, UsageError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Lykta's centre: keys, signing, ingest, clips."
)
Keys = Annotated[Path, typer.Option("--keys", help="folder that keygen made")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]


@app.command()
def keygen(
    folder: Annotated[Path, typer.Argument(help="new folder for the keys")],
    host: Annotated[list[str] | None, typer.Option(help="name or address of broker and ingest; may be repeated")] = None,
    as_json: Json = False,
) -> None:
    """Make a CA, the basis, command and receipt keys, servers' certificates and the clip identity."""
    from central.keys import keygen as make

    make(folder, ["localhost", "127.0.0.1", *(host or [])])
    files = sorted(path.name for path in folder.iterdir())
    show(
        "keygen",
        {"folder": str(folder), "files": files},
        f"keys in {folder}: keep ca.key, basis.key and identity.txt offline",
        as_json,
    )


@app.command()
def bundle(
    keys: Annotated[Path, typer.Argument(help="folder that keygen made")],
    node: Annotated[str, typer.Argument(help="SITE/NODE, lower case, digits and hyphens")],
    root: Annotated[Path, typer.Option(help="write below this folder: ROOT/etc/lykta")],
    area: Annotated[str, typer.Option(help="City, Skäggetorp, Ryd, Berga or another area")],
    broker: Annotated[str, typer.Option(help="HOST:PORT")],
    ingest: Annotated[str, typer.Option(help="HOST:PORT")],
    as_json: Json = False,
) -> None:
    """Make a node's keys, certificates, trust files and first lykta.toml.

    Until enrolment exists the keys are made here and travel with the bundle: carry it safely.
    """
    from central.bundle import Address
    from central.bundle import bundle as make

    etc = make(keys, node, root, area, Address.parse(broker), Address.parse(ingest))
    show("bundle", {"node": node, "folder": str(etc)}, f"bundle of {node} in {etc}", as_json)


@app.command()
def sign(
    record: Annotated[str, typer.Argument(help="basis or view")],
    source: Annotated[Path | None, typer.Argument(help="the record as JSON")] = None,
    keys: Annotated[Path | None, typer.Option("--keys", help="folder that keygen made")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the signed record")] = None,
    example: Annotated[str, typer.Option(help="print a minimal record for SITE/NODE to edit, and sign nothing")] = "",
) -> None:
    """Sign a basis or a view; without a valid one a node never opens its camera."""
    import msgspec

    from central import signing
    from central.bundle import split_name
    from privacy.files import place

    if record not in signing.KINDS:
        raise UsageError(
            f"sign: must be basis or view (got {record!r})", "lykta-central sign basis FILE.json --keys DIR -o basis.jws"
        )
    if example:
        site, node = split_name(example)
        text = msgspec.json.format(msgspec.json.encode(signing.example(record, site, node)), indent=1)
        sys.stdout.write(text.decode() + "\n")
        return
    if not (source and keys and output):
        raise UsageError("sign: FILE.json, --keys and -o are needed", "or --example SITE/NODE to print one to edit")
    token = signing.sign_record(record, source, keys)
    output.parent.mkdir(parents=True, exist_ok=True)
    place(output, token)
    sys.stderr.write(f"signed {record}: {output}\n")


@app.command()
def send(
    keys: Annotated[Path, typer.Argument(help="folder that keygen made")],
    node: Annotated[str, typer.Argument(help="SITE/NODE")],
    name: Annotated[str, typer.Argument(help="the command: ack")],
    broker: Annotated[str, typer.Option(help="HOST:PORT")],
    arg: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; may be repeated")] = None,
    as_json: Json = False,
) -> None:
    """Send a node a signed command over MQTT; it stands for a minute."""
    from agent.messages import topic
    from central.bundle import Address, split_name
    from central.signing import command
    from drivers.mqtt import Credentials, send_once
    from privacy.errors import UnreachableError

    site, stop = split_name(node)
    token = command(keys, site, stop, name, arguments(arg or []))
    address = Address.parse(broker)
    credentials = Credentials(keys / "ca.pem", keys / "ops.pem", keys / "ops.key")
    target = topic(site, stop, "cmd", name)
    trouble = send_once(f"ops-send-{datetime.now().timestamp()}", credentials, (address.host, address.port), target, token, 5)
    if trouble:
        raise UnreachableError(f"send: broker {broker}: {trouble}", "is the broker up, and does it trust ops.pem?")
    show("send", {"topic": target}, f"sent {name} to {node}", as_json)


@app.command()
def ingest(
    keys: Keys,
    store: Annotated[str, typer.Option(help="folder for the objects, or s3://BUCKET[/PREFIX]")],
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="take the objects of this folder, and end")] = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port to listen on")] = 8443,
    journal: Annotated[Path | None, typer.Option(help="the centre's journal; by default KEYS/journal")] = None,
    sweep_once: Annotated[bool, typer.Option(help="delete what is due, and end")] = False,
    as_json: Json = False,
) -> None:
    """Take sealed objects from nodes over mutual TLS, or from DIR, answer with signed receipts, and delete what is due."""
    from central.serving import Serving

    serving = Serving.over(store, keys, journal or keys / "journal")
    if sweep_once:
        show("sweep", *serving.sweep_once(), as_json)
    elif folder:
        facts, text = serving.carry(folder)
        show("ingest", facts, text, as_json)
        if facts["refused"]:
            raise typer.Exit(1)
    else:
        sys.stderr.write(f"ingest on https://{host}:{port}, store {store}\n")
        serving.serve(keys, host, port)


@app.command("open")
def open_(
    clip: Annotated[Path, typer.Argument(help="a stored clip's folder, or its clip.age")],
    keys: Keys,
    output: Annotated[Path, typer.Option("--output", "-o", help="the video to write, MP4")],
    as_json: Json = False,
) -> None:
    """Verify a clip and decrypt its masked video."""
    from central.opening import open_clip

    verified = open_clip(folder_of(clip), keys, output)
    show("open", {"clip": verified.manifest.clip, "output": str(output)}, f"opened {verified.manifest.clip}: {output}", as_json)


@app.command()
def verify(
    clip: Annotated[Path, typer.Argument(help="a stored clip's folder, or its clip.age")],
    keys: Keys,
    as_json: Json = False,
) -> None:
    """Prove that a clip was masked: signatures and hashes, one record a frame, and every masked pixel holds the fill."""
    import msgspec

    from central.opening import check_clip, prove_clip

    folder = folder_of(clip)
    verified = check_clip(folder, keys)
    proof = prove_clip(folder, keys, verified, lambda number: frames_done(number, verified.manifest.frames))
    checked = [
        *verified.checked,
        f"{proof.frames} pictures against their mask records ({proof.records}); {sum(proof.full.values())} fully masked",
        f"{proof.checked:.0%} of the masked pixels hold the fill, off by at most {proof.worst} levels",
    ]
    unseen = proof.records - proof.frames
    left = [
        *([f"{proof.unproved} pictures after the last mask record of a torn clip"] if proof.unproved else []),
        *([f"{unseen} mask records after the last picture of a torn clip"] if unseen else []),
        f"the other {1 - proof.checked:.0%}: the border of each mask, which the coder mixes with what lies beside it",
        "whether somebody stayed visible beside the masks",
    ]
    facts = {"clip": verified.manifest.clip, "signer": verified.signer, "checked": checked, "not_checked": left}
    verdict = "good as far as it reaches: a power cut tore it" if verified.manifest.state == "torn" else "good"
    lines = [f"{verified.manifest.clip} by {verified.signer}: {verdict}", *(f"  checked      {text}" for text in checked)]
    lines += [f"  not checked  {text}" for text in left]
    facts |= {"proof": msgspec.to_builtins(proof), "manifest": msgspec.to_builtins(verified.manifest)}
    show("verify", facts, "\n".join(lines), as_json)


def frames_done(number: int, of: int) -> None:
    """Progress of long work on stderr; a torn clip knows of no number of pictures."""
    if number % 500 == 0:
        sys.stderr.write(f"verify: {number} pictures" + (f" of {of}" if of else "") + "\n")
        sys.stderr.flush()


def arguments(pairs: list[str]) -> dict[str, str]:
    """KEY=VALUE words as a dict."""
    for pair in pairs:
        if not pair.partition("=")[1]:
            raise UsageError(f"send: arg: must be KEY=VALUE (got {pair!r})", "for instance --arg light=on")
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def folder_of(clip: Path) -> Path:
    return clip.parent if clip.name == "clip.age" else clip


def show(name: str, facts: dict[str, Any], text: str, as_json: bool) -> None:
    """Result on stdout: for people, or as one versioned object."""
    sys.stdout.write(json.dumps({"schema": f"lykta-central.{name}/1", **facts}, default=str) + "\n" if as_json else f"{text}\n")


def main() -> None:
    """Entry point: errors in the words of the design, with their exit code."""
    try:
        app()
    except LyktaError as problem:
        sys.stderr.write(f"error: {problem}\n" + (f"hint: {problem.hint}\n" if problem.hint else ""))
        sys.exit(problem.exit_code)
