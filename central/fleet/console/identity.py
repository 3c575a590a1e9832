"""Who looks at a page: an officer by client certificate, or by the header of a reverse proxy at one named address; else nobody."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from central.fleet.collect.reporting import Reporter
from central.keys.key_folder import public_key, read
from central.keys.officers import ROLES, Roles
from privacy.errors import EnrolmentError, RecordError
from privacy.records.jws import Authority, TrustedKeys, thumbprint, verify_listed

PEER = "lykta.officer"
"""Key of the scope that the server sets from the client's certificate; only a verified one has a name."""
_NAME = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,79}"


@dataclass(frozen=True)
class OfficerList:
    """roles.jws, the list of officers in force; authority: who may sign it."""

    path: Path
    authority: Authority

    def has(self, name: str) -> bool:
        """Whether an officer has a right; read each time, so that one who lost all is out at once. `RecordError` for a list that
        the CA did not sign, `EnrolmentError` for none."""
        cas = TrustedKeys({thumbprint(key): key for key in map(public_key, self.authority.cas)})
        return bool(verify_listed(read(self.path), ROLES, cas, Roles).officers.get(name))


@dataclass(frozen=True)
class Identities:
    """proxy: the one address whose header counts, "" for none; header: its name in lower case; listed: None without a list."""

    report: Reporter
    proxy: str = ""
    header: str = ""
    listed: OfficerList | None = None

    def officer(self, scope: dict[str, Any]) -> str:
        """The officer's name, "" for somebody who may only read. A header from elsewhere is ignored and logged."""
        address = (scope.get("client") or ("", 0))[0]
        claimed: list[str] = [value.decode("latin-1") for name, value in scope["headers"] if name.decode("latin-1") == self.header]
        if self.header and claimed:
            if address != self.proxy:
                self.report.foreign(f"{self.header}: ignored: it came from {address}, not from {self.proxy}")
            elif len(claimed) == 1 and re.fullmatch(_NAME, claimed[0]):
                return claimed[0]
            else:
                self.report.foreign(f"{self.header}: ignored: it is no name of an officer")
        return self._by_certificate(scope)

    def _by_certificate(self, scope: dict[str, Any]) -> str:
        """While the list of officers is not valid, no certificate counts."""
        name = str(scope.get(PEER, ""))
        try:
            if name and self.listed and not self.listed.has(name):
                self.report.foreign(f"certificate of {name}: is not in the list of officers")
                return ""
        except (RecordError, EnrolmentError) as problem:
            self.report.trouble("list of officers", str(problem))
            return ""
        return name
