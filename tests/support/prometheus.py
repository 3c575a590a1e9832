"""Real Prometheus and Alertmanager on 127.0.0.1, and `promtool`."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.support.broker import PATIENCE, free_port, until


def tool(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is not installed: apt install prometheus prometheus-alertmanager"
    return found


def promtool(*words: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool("promtool"), *words], input=given, capture_output=True, text=True, check=False, timeout=PATIENCE * 20
    )


def get(url: str) -> Any:
    """JSON at an address; a `LookupError` as long as nobody answers."""
    done = subprocess.run(["curl", "-sf", url], capture_output=True, text=True, check=False, timeout=PATIENCE * 10)
    if done.returncode:
        raise LookupError(url)
    return json.loads(done.stdout)


@contextmanager
def _running(words: Sequence[str | Path], log: Path, ready: str) -> Iterator[None]:
    with log.open("ab") as file:
        process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, cwd=log.parent)
    try:
        probe = ["curl", "-sf", ready]
        until(lambda: subprocess.run(probe, capture_output=True, check=False).returncode == 0, f"it is ready: {log}")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE * 20)


@contextmanager
def alertmanager(folder: Path) -> Iterator[str]:
    """Its address. It routes everything to nobody: what it holds is read by its API."""
    port = free_port()
    config = folder / "alertmanager.yml"
    config.write_text("route:\n  receiver: nobody\nreceivers:\n  - name: nobody\n")
    url = f"http://127.0.0.1:{port}"
    words = [tool("prometheus-alertmanager"), f"--config.file={config}", f"--storage.path={folder / 'alerts'}"]
    words += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    with _running(words, folder / "alertmanager.log", f"{url}/-/ready"):
        yield url


class Prometheus:
    """url: of its API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, text: str) -> list[dict[str, Any]]:
        """The result of a query now; a `LookupError` for one that it refuses."""
        return list(get(f"{self.url}/api/v1/query?{urlencode({'query': text})}")["data"]["result"])


@contextmanager
def prometheus(folder: Path, targets: Sequence[str], rules: Path | None = None) -> Iterator[Prometheus]:
    """Scrapes each second. targets: HOST:PORT of each collector."""
    port = free_port()
    config = folder / "prometheus.yml"
    scraped = json.dumps([{"job_name": "lykta", "static_configs": [{"targets": list(targets)}]}])
    ruled = json.dumps([str(rules)] if rules else [])
    config.write_text(f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: {ruled}\nscrape_configs: {scraped}\n")
    url = f"http://127.0.0.1:{port}"
    words = [tool("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    words += [f"--web.listen-address=127.0.0.1:{port}"]
    with _running(words, folder / "prometheus.log", f"{url}/-/ready"):
        yield Prometheus(url)
