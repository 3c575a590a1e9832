"""`lykta-central` keygen, broker, bundle, renew, officer, revoke: keys, who holds them, and what the broker does by them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from central.commands.options import Json, KeysFolder, app, show, unused
from privacy.errors import UsageError


@app.command()
def keygen(
    folder: Annotated[
        Path, typer.Argument(help="new folder for the keys; with --rotate, --retire and --custodian the present one")
    ],
    host: Annotated[
        list[str] | None, typer.Option(help="name or address of broker and ingest, beside localhost; may be repeated")
    ] = None,
    officer: Annotated[str, typer.Option(help="the first officer, who may open, export and order (officer-1)")] = "",
    rotate: Annotated[
        str,
        typer.Option(
            help="a new identity, ca, basis, command or receipt key, the old one is kept; "
            "or ingest or broker: its key and certificate are issued anew, with --host for other names"
        ),
    ] = "",
    retire: Annotated[str, typer.Option(help="trust the old ca, basis, command or receipt key no longer")] = "",
    custodian: Annotated[str, typer.Option(help="age1…: one more who can open every clip from now on")] = "",
    as_json: Json = False,
) -> None:
    """Make a CA, the basis, command and receipt keys, servers' certificates, the clip identity and the first officer.

    With --rotate, --retire or --custodian change one thing of an existing folder: docs/KEY-DRILLS.md says when and in which order.
    """
    from central.keys import keygen

    if sum(map(bool, (rotate, retire, custodian))) > 1:
        raise UsageError("keygen: one of --rotate, --retire and --custodian at a time", "run it once for each")
    change = rotate or retire or custodian
    unused("keygen", f"an existing folder ({change})", officer=change and officer)
    if rotate in keygen.SERVERS:
        keygen.reissue(folder, rotate, _hosts(host) if host else ())
        text = f"new key and certificate of {rotate} in {folder}: give it both, and start it again"
        show("keygen", {"folder": str(folder), "files": _files(folder)}, text, as_json)
        return
    unused("keygen", change, host=change and host)
    if rotate:
        keygen.rotate(folder, rotate)
        text = f"new {rotate} key in {folder}: carry it to the nodes with bundle --trust-only"
    elif retire:
        keygen.retire_key(folder, retire)
        text = f"old {retire} key retired in {folder}: tell the nodes with bundle --trust-only"
    elif custodian:
        keygen.add_custodian(folder, custodian)
        text = f"custodian added in {folder}: tell the nodes with bundle --trust-only"
    else:
        keygen.keygen(folder, _hosts(host), officer or keygen.FIRST)
        text = f"keys in {folder}: keep ca.key, basis.key and identity.txt offline"
    show("keygen", {"folder": str(folder), "files": _files(folder)}, text, as_json)


def _hosts(more: list[str] | None) -> list[str]:
    return ["localhost", "127.0.0.1", *(more or [])]


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@app.command()
def broker(
    keys: KeysFolder,
    output: Annotated[Path, typer.Option("--output", "-o", help="folder for broker.conf, broker.acl and what mosquitto keeps")],
    nodes: Annotated[str, typer.Option(help="HOST:PORT where nodes connect")] = "0.0.0.0:8883",
    operators: Annotated[
        str, typer.Option(help="HOST:PORT where operators and lykta-central connect: an address that no node reaches")
    ] = "127.0.0.1:8884",
    user: Annotated[str, typer.Option(help="whom mosquitto becomes when root starts it; else its own default")] = "",
    as_json: Json = False,
) -> None:
    """Write mosquitto's configuration: mutual TLS, each node below its own topics and name, revoked certificates refused, limits.

    KEYS needs only ca.pem, crl.pem, broker.pem and broker.key here, which mosquitto must be able to read; it writes into DIR. After
    `revoke` give it the new crl.pem and a SIGHUP. For instance: lykta-central broker KEYS -o /etc/mosquitto/lykta
    """
    from central.keys.broker import Listeners, write
    from central.keys.bundle import Address

    path = write(keys, output, Listeners(Address.parse(nodes), Address.parse(operators)), user)
    facts = {"config": str(path), "nodes": nodes, "operators": operators}
    show("broker", facts, f"{path}: nodes at {nodes}, operators at {operators}; mosquitto -c {path}", as_json)


@app.command()
def bundle(
    keys: KeysFolder,
    node: Annotated[str, typer.Argument(help="SITE/NODE, lower case, digits and hyphens")] = "",
    root: Annotated[Path | None, typer.Option(help="write below this folder: ROOT/etc/lykta")] = None,
    area: Annotated[str, typer.Option(help="City, Skäggetorp, Ryd, Berga or another area")] = "",
    broker: Annotated[str, typer.Option(help="HOST:PORT")] = "",
    ingest: Annotated[str, typer.Option(help="HOST:PORT")] = "",
    trust_only: Annotated[
        Path | None, typer.Option(help="only write ROOT/etc/lykta/trust anew, for a node that has its keys")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a node's keys, certificates, trust files and first lykta.toml.

    Until enrolment exists the keys are made here and travel with the bundle: carry it safely. With --trust-only there is no secret
    in what is written: CA, key sets and recipients, as they are after a key was replaced or retired.
    """
    from central.keys.bundle import Address, refresh_trust
    from central.keys.bundle import bundle as make

    if trust_only:
        unused("bundle", "--trust-only", node=node, root=root, area=area, broker=broker, ingest=ingest)
        folder = refresh_trust(keys, trust_only)
        show("bundle", {"folder": str(folder)}, f"trust of this centre in {folder}", as_json)
        return
    if not (node and root):
        raise UsageError("bundle: SITE/NODE, --root, --area, --broker and --ingest are needed", "or --trust-only ROOT")
    etc = make(keys, node, root, area, Address.parse(broker), Address.parse(ingest))
    show("bundle", {"node": node, "folder": str(etc)}, f"bundle of {node} in {etc}", as_json)


@app.command()
def renew(
    keys: KeysFolder,
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE...]", help="wishes: UNIT.renewal.jws of a node")] = None,
    broker: Annotated[str, typer.Option(help="HOST:PORT: take the wishes that stand there, and answer there")] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="folder for SITE/NODE/UNIT.pem")] = None,
    as_json: Json = False,
) -> None:
    """Give nodes the certificates they ask for. Needs the CA's key; refused are strangers, the revoked and the long expired."""
    from central.fleet.renewing import over_broker, to_files

    if broker:
        unused("renew", "--broker", file=files, output=output)
    elif not (files and output):
        raise UsageError("renew: --broker, or FILE and -o are needed", "`lykta renew` on the node leaves UNIT.renewal.jws")
    given, refused = over_broker(keys, broker) if broker else to_files(keys, files or [], output or Path())
    lines = [f"renewed {one}" for one in given] + [f"refused {one}: {why}" for one, why in refused.items()]
    show("renew", {"renewed": given, "refused": refused}, lines or "no wishes", as_json)
    if refused:
        raise typer.Exit(1)


@app.command()
def officer(
    keys: KeysFolder,
    name: Annotated[str, typer.Argument(help="the officer; without a name all are listed")] = "",
    may: Annotated[
        list[str] | None, typer.Option(help="open, export or order; may be repeated: these rights and no others")
    ] = None,
    remove: Annotated[bool, typer.Option(help="take all rights away")] = False,
    as_json: Json = False,
) -> None:
    """Who may open, export and order; add an officer, or change what one may do. Needs the CA's key."""
    import msgspec

    from central.keys import officers

    rights = tuple(right for right in officers.RIGHTS if right in (may or ()))
    if set(may or ()) - set(rights):
        raise UsageError(
            f"officer: may: must be {', '.join(officers.RIGHTS)} (got {' '.join(may or ())})", "name each right by itself"
        )
    if not name:
        unused("officer", "no name", may=rights, remove=remove)
    if name and bool(rights) == remove:
        raise UsageError("officer: --may or --remove is needed", "without a name all are listed")
    held = officers.set_rights(keys, {name: rights}) if name else officers.roles(keys)
    show("officer", msgspec.to_builtins(held), officers.describe(held), as_json)


@app.command()
def revoke(keys: KeysFolder, node: Annotated[str, typer.Argument(help="SITE/NODE")], as_json: Json = False) -> None:
    """Put all certificates of a node on KEYS/crl.pem, for mosquitto's crlfile and the ingest. Needs the CA's key."""
    from central.keys.bundle import split_name
    from central.keys.revoking import revoke as put

    split_name(node)
    count = put(keys, node)
    text = f"{count} certificates of {node} are new on {keys / 'crl.pem'}: give it to the broker and have it read it (SIGHUP)"
    show("revoke", {"node": node, "revoked": count, "crl": str(keys / "crl.pem")}, text, as_json)
