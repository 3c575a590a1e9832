"""The protocol page of an export: one HTML file without scripts or links, accessible to screen readers (EN 301 549)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from html import escape

from central.clips.export import VIDEO, PageClip, Protocol
from central.clips.opening import signed_before
from privacy.records.manifest import Manifest
from privacy.records.zone import stockholm

GROUNDS = {
    "crime": "the Secrecy Act (OSL) 32:3: police or prosecutor need it for a suspected offence that can give prison",
    "accident": "the Secrecy Act (OSL) 32:3: to prevent an accident or limit what it does",
    "data_subject": "the person who was filmed asked for it",
}
CLOCKS = {
    "synced": "set from a time server",
    "holdover": "had been set from a time server, then ran on by itself",
    "unknown": "was not trusted: the times may be wrong by more than is said here",
}
CANNOT_SHOW = (
    "Faces, clothes, hair, skin, what somebody carries, or any other look of a person: whole persons are painted over before the "
    "picture is stored. What is under the paint was never recorded, so nobody can restore it.",
    "Number plates: vehicles are painted over as well.",
    "Who somebody is. A shape may be followed through one video; it is no likeness: height and gait are those of a painted box.",
    "Whether two shapes that meet, hide or leave the picture are the same person afterwards.",
    "Anything in the pictures counted as fully masked, outside the area that the camera may show, or between two videos.",
    "That nothing happened: the masking may also paint over things that are no persons. And there is no sound.",
)
SAME = (
    """[ "$(base64 -w0 {0}.json | tr '+/' '-_' | tr -d =)" = "$(cut -d. -f2 {0}.signed)" ] && """
    """[ "$(cut -d. -f1,2 {0}.jws)" = "$(cat {0}.signed)" ] && echo same"""
)
_SIGNATURE = "openssl dgst -sha256 -verify <(openssl x509 -in {1} -noout -pubkey) -signature {0}.sig {0}.signed"
_CHAIN = "openssl verify -no_check_time -CAfile {1} {0} && openssl x509 -in {0} -noout -subject -nameopt RFC2253"
CHECKS = (
    ("Nothing was lost or changed since it was handed out.", "sha256sum -c SHA256SUMS"),
    (
        "The municipality's certificate authority, and those before it. Compare with what the municipality itself publishes, not "
        "with this page.",
        """awk 'BEGIN{RS="-----END CERTIFICATE-----\\n"; say="openssl x509 -noout -fingerprint -sha256"} """
        """{print $0 RS | say; close(say)}' ca.pem""",
    ),
    ("The officer's certificate is of that authority (OU=officer).", _CHAIN.format("protocol-chain.pem", "ca.pem")),
    ("The officer signed the protocol.", _SIGNATURE.format("protocol", "protocol-chain.pem")),
    ("protocol.json is what was signed.", SAME.format("protocol")),
)
CLIP_CHECKS = (
    ("The camera's certificate is of that authority (CN=site/node, OU=camera).", _CHAIN.format("chain.pem", "../ca.pem")),
    ("The camera signed the manifest.", _SIGNATURE.format("manifest", "chain.pem")),
    ("manifest.json is what was signed.", SAME.format("manifest")),
    (
        "The sealed files are those that the camera signed.",
        """(for f in *.age; do printf '"name":"%s","sha256":"%s"' "$f" "$(sha256sum < "$f" | cut -d' ' -f1)" """
        """| grep -qFf - manifest.json || exit 1; done) && echo as signed""",
    ),
    (
        "The officer signed that this video is what this sealed file of this manifest opens to.",
        """printf '"manifest_sha256":"%s","sealed_sha256":"%s","video":{"name":"video.mp4","sha256":"%s"' """
        """$(sha256sum manifest.jws clip.age video.mp4 | cut -d' ' -f1) | grep -qFf - ../protocol.json && echo as signed""",
    ),
    (
        "As many pictures as the manifest says (a torn clip's counts those up to its last checkpoint), and no sound.",
        "ffprobe -v error -count_frames -show_entries stream=codec_type,nb_read_frames -of default=nw=1 video.mp4 && "
        "grep -o '\"frames\":[0-9]*' manifest.json",
    ),
)
AT_THE_CENTRE = "age -d -i identity.txt clip.age | sha256sum"
"""Repeats the decryption of the sealed file; only possible with the clip identity."""
_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem;color:#111;background:#fff}"
    "h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2rem;border-bottom:2px solid #111}h3{font-size:1.05rem}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border:1px solid #666}"
    "th{width:16rem;background:#eee}td{overflow-wrap:anywhere}pre{background:#eee;padding:.5rem;white-space:pre-wrap;"
    "overflow-wrap:anywhere;margin:.2rem 0 1rem}.sv{font-weight:normal;color:#333}"
    "@media print{body{max-width:none}h2,h3{break-after:avoid}pre,tr{break-inside:avoid}}"
)


def page(protocol: Protocol, shown: Sequence[PageClip], fingerprints: Sequence[str]) -> str:
    """The page as HTML. fingerprints: SHA-256 of the CA certificates."""
    clips = "".join(_clip(one) for one in shown)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Protocol of handed-out video, case {escape(protocol.case)}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>Protocol of handed-out video{_swedish('Protokoll över utlämnad film')}</h1>"
        + _heading("What this video cannot show", "Vad filmen inte kan visa")
        + f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in CANNOT_SHOW)}</ul>"
        + _heading("Decision", "Beslut")
        + _table("Who, why, to whom", _decision(protocol))
        + clips
        + _heading("How to check", "Så kontrolleras materialet")
        + _how(protocol, fingerprints)
        + "</main></body></html>\n"
    )


def _decision(protocol: Protocol) -> list[tuple[str, str]]:
    offence = [("Offence", protocol.offence)] if protocol.offence else []
    return [
        ("Ground", f"{protocol.ground}: {GROUNDS[protocol.ground]}"),
        *offence,
        ("Case", protocol.case),
        ("Decided by", protocol.decided),
        ("Performed by", f"{protocol.performed} (officer; signed protocol.json)"),
        ("Handed to", protocol.to),
        ("Handed out", _time(protocol.t)),
        ("Access log", f"stood at {protocol.log} when this export was entered in it"),
    ]


def _clip(one: PageClip) -> str:
    manifest = one.verified.manifest
    heading = _heading(f"Video of {manifest.site}/{manifest.node}, {manifest.area}", "Film")
    rows = [*_times(manifest), *_pictures(one), *_origin(one)]
    return heading + _table(f"Clip {manifest.clip}", rows) + _full(one)


def _times(manifest: Manifest) -> list[tuple[str, str]]:
    error = timedelta(milliseconds=manifest.time_error_ms)
    return [
        ("Begins", _between(manifest.begin, error)),
        ("Ends", _between(manifest.end, error)),
        ("The camera's clock", f"{CLOCKS[manifest.clock]}; wrong by at most {error.total_seconds():g} s either way"),
        ("Length", f"{(manifest.end - manifest.begin).total_seconds():.1f} s by the camera's clock"),
    ]


def _pictures(one: PageClip) -> list[tuple[str, str]]:
    manifest, proof = one.verified.manifest, one.proof
    torn = " A power cut tore this clip: it ends where the power went." if manifest.state == "torn" else ""
    return [
        ("Pictures", f"{proof.frames + proof.unproved} of {manifest.width}x{manifest.height} pixels.{torn}"),
        ("Fully masked", f"{sum(proof.full.values())} pictures; by cause below"),
        ("Masked", f"{proof.masked:.0%} of all pixels on average, profile {manifest.profile}, found by {manifest.stack}"),
        ("Proof of the masks", f"{proof.frames} pictures hold their masks: off by at most {proof.worst} of 255 levels"),
        *([("Without proof", f"{proof.unproved} pictures after the last mask record")] if proof.unproved else []),
    ]


def _origin(one: PageClip) -> list[tuple[str, str]]:
    manifest, receipt, checkpoint = one.verified.manifest, one.verified.receipt, one.verified.checkpoint
    return [
        ("Began because of", manifest.trigger),
        ("Basis and view", f"{manifest.basis}, {manifest.view}"),
        ("Deleted at the centre", f"at {_time(manifest.deadline)}, unless an order holds it"),
        ("At the centre since", _time(receipt.received) if receipt else "no receipt lies beside the clip"),
        *([("Signed before the cut", signed_before(checkpoint))] if checkpoint else []),
        (f"sha256 of {VIDEO}", one.exported.video.sha256),
        ("sha256 of clip.age", one.exported.sealed_sha256),
        ("sha256 of the manifest", one.exported.manifest_sha256),
    ]


def _full(one: PageClip) -> str:
    """A table of fully masked pictures by cause, empty if there are none."""
    if not one.proof.full:
        return ""
    rows = [(cause.replace("_", " "), f"{count} pictures") for cause, count in sorted(one.proof.full.items())]
    return _table("Pictures that show nothing, by cause", rows)


def _how(protocol: Protocol, fingerprints: Sequence[str]) -> str:
    folder = escape(protocol.clips[0].clip)
    return (
        "<p>With bash, coreutils, grep, awk, openssl 3 and ffprobe, in this folder. Each command ends with 0 if it holds.</p>"
        + _steps(CHECKS)
        + "<p>The fingerprints as the centre has them:</p><ul>"
        + "".join(f"<li><code>{escape(one)}</code></li>" for one in fingerprints)
        + "</ul>"
        + f"<p>Then in each clip's folder, for instance <code>cd {folder}</code>:</p>"
        + _steps(CLIP_CHECKS)
        + "<p>That the video is what the sealed file opens to can be repeated only at the centre, where the identity is; "
        "the officer signs for it. There, with age, this prints the sha256 of video.mp4; a torn clip continues in tail.age:</p>"
        + f"<pre>{escape(AT_THE_CENTRE)}</pre>"
    )


def _steps(steps: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<p>{escape(what)}</p><pre>{escape(command)}</pre>" for what, command in steps)


def _table(caption: str, rows: Iterable[tuple[str, str]]) -> str:
    body = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows)
    return f"<table><caption><h3>{escape(caption)}</h3></caption>{body}</table>"


def _heading(english: str, swedish: str) -> str:
    return f"<h2>{escape(english)}{_swedish(swedish)}</h2>"


def _swedish(text: str) -> str:
    return f' <span class="sv" lang="sv">({escape(text)})</span>'


def _between(moment: datetime, error: timedelta) -> str:
    first, last = moment - error, moment + error
    local = f"{_local(first)} and {_local(last)} Swedish time"
    return f"between {local} ({first.astimezone(UTC):%H:%M:%S.%f}"[:-3] + f" and {last.astimezone(UTC):%H:%M:%S.%f}"[:-3] + " UTC)"


def _local(moment: datetime) -> str:
    return f"{moment.astimezone(stockholm()):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(stockholm()):%Y-%m-%d %H:%M:%S} Swedish time ({moment.astimezone(UTC):%H:%M:%S} UTC)"
