"""The command `lykta-central verify`: checks a clip or journals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from central.commands.options import Json, Keys, clip_folder, print_progress, print_result, refuse_unused
from privacy.records.manifest import MANIFEST_FILE

if TYPE_CHECKING:
    from central.clips.checking import Proof
    from central.clips.opening import VerifiedClip

app = typer.Typer(add_completion=False)


@app.command()
def verify(
    what: Annotated[
        Path, typer.Argument(help="a stored clip's folder or its clip.age; or a journal's folder: a node's, or KEYS/access")
    ],
    keys: Keys,
    head: Annotated[
        list[str] | None, typer.Option(help="journals: a head UNIT=LENGTH:SHA256 as published over MQTT; may be repeated")
    ] = None,
    node: Annotated[str, typer.Option(help="journals: SITE/NODE that must have signed them")] = "",
    as_json: Json = False,
) -> None:
    """Prove that a clip was masked: signatures and hashes, one record a frame, and every masked pixel holds the fill.

    For a journal: every entry is signed, none is missing, added or changed, and the chains agree with each other and with --head.
    """
    from central.clips.journals import is_journal

    if is_journal(what) or ((head or node) and not (clip_folder(what) / MANIFEST_FILE).exists()):
        _verify_journals(what, keys, head or [], node, as_json)
        return
    refuse_unused("verify", "a clip", head=head, node=node)
    _verify_clip(clip_folder(what), keys, as_json)


def _verify_clip(folder: Path, keys: Path, as_json: bool) -> None:
    import msgspec

    from central.clips.opening import check_clip, prove_clip
    from central.keys.recipients import check_clip_recipients

    verified = check_clip(folder, keys)
    sealed_to = check_clip_recipients(folder, verified.manifest, keys)
    proof = prove_clip(folder, keys, verified, lambda number: print_progress(number, verified.manifest.frames))
    checked, left = _findings(verified, proof)
    checked.append(sealed_to)
    facts = {"clip": verified.manifest.clip, "signer": verified.signer, "checked": checked, "not_checked": left}
    verdict = "good up to where a power cut tore it" if verified.manifest.state == "torn" else "good"
    lines = [f"{verified.manifest.clip} by {verified.signer}: {verdict}", *(f"  checked      {text}" for text in checked)]
    lines += [f"  not checked  {text}" for text in left]
    facts |= {"proof": msgspec.to_builtins(proof), "manifest": msgspec.to_builtins(verified.manifest)}
    print_result("verify", facts, lines, as_json)


def _findings(verified: VerifiedClip, proof: Proof) -> tuple[list[str], list[str]]:
    """What was checked and what was not, a line each."""
    checked = [
        *verified.checked,
        f"{proof.frames} pictures against their mask records ({proof.records}); {sum(proof.full.values())} fully masked",
        f"{proof.checked:.0%} of the masked pixels hold the fill, off by at most {proof.worst} levels",
    ]
    unseen = proof.records - proof.frames
    torn = verified.manifest.state == "torn"
    left = [
        *([f"{proof.unproved} pictures after the last mask record of a torn clip"] if proof.unproved else []),
        *([f"{unseen} mask records after the last picture of a torn clip"] if unseen else []),
        *(
            [f"what the camera wrote after {'its last' if verified.checkpoint else 'no'} checkpoint: signed only after the cut"]
            if torn
            else []
        ),
        f"the other {1 - proof.checked:.0%}: the border of each mask, which the coder mixes with the pixels beside it",
        "whether somebody stayed visible beside the masks",
    ]
    return checked, left


def _verify_journals(path: Path, keys: Path, words: list[str], node: str, as_json: bool) -> None:
    from central.clips.journals import parse_heads, verify_journals
    from central.keys.access_log import UNIT
    from central.keys.key_folder import authority_with_retired
    from central.keys.officers import check_roles

    found = verify_journals(path, authority_with_retired(keys), parse_heads(words), node)
    if UNIT in found.chains and path == keys / UNIT:
        check_roles(keys, found.chains[UNIT].entries)
    units = {unit: {"entries": len(chain.entries), "head": str(chain.head)} for unit, chain in found.chains.items()}
    facts: dict[str, Any] = {"journal": str(path), "signers": sorted(found.names), "units": units}
    facts |= {"crossed": found.crossed, "heard": found.heard, "claims": list(found.claims)}
    lines = [f"{path} by {', '.join(sorted(found.names)) or 'nobody'}: whole"]
    lines += [f"  {unit}: {len(chain.entries)} entries, head {chain.head}" for unit, chain in found.chains.items()]
    lines += [f"  unproven  {claim}" for claim in found.claims]
    lines += [f"  compared with {found.crossed} heads that the units recorded of each other and {found.heard} that were given"]
    lines += (
        [] if found.crossed or found.heard else ["  not checked  whether entries are missing at the end: no head to compare with"]
    )
    print_result("verify", facts, lines, as_json)
