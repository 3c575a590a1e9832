#!/usr/bin/env bash
# Prepares a Debian 12 or 13 machine (or Raspberry Pi OS) for Lykta. Prints what it installs; a second run changes nothing.
# usage: setup.sh STEP...   steps: packages tests powercut container vm arm64 venv models bench pi
set -euo pipefail
cd "$(dirname "$0")/../.."

packages=(
  python3-venv python3-dev gcc pkg-config libsystemd-dev ca-certificates tzdata # to build and run the node
  mosquitto mosquitto-clients age openssl curl ffmpeg strace systemd            # real counterparts for demo and tests
  libx264-dev                                                                   # encoder for tests/support/chip, the stand-in for an encoder chip
)

testing=(
  faketime groff-base openssh-server                # used by `make test`: wrong clocks, the manual page, a technician's SSH
  postgresql prometheus prometheus-alertmanager     # the collector's counterparts; the tests start them, on 127.0.0.1
)

browser=(chromium) # the console's pages are looked at in it; those tests are skipped where Debian has none

rigs=(qemu-system-common e2fsprogs fuse3 util-linux faketime strace) # qemu-storage-daemon, and tools of the fault tests

container=(systemd-container mmdebstrap debian-archive-keyring nftables iproute2 openssh-server) # to boot a container; firewall and SSH
machine=(qemu-system-x86 qemu-utils swtpm e2fsprogs mmdebstrap debian-archive-keyring util-linux) # make test-vm
foreign=(mmdebstrap debian-archive-keyring util-linux)                                           # make test-arm64

say() { printf 'setup: %s\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else printf 'error: %s\nhint: %s\n' "packages are missing and this user is not root" "run as root, or install sudo" >&2; exit 6
  fi
}

step_packages() { install "${packages[@]}"; }

step_tests() {
  # The tests start servers of their own; those of the system must not be enabled by this installation.
  local server mine=()
  for server in /usr/sbin/sshd:ssh.service:ssh.socket /usr/share/postgresql-common/pg_wrapper:postgresql.service \
    /usr/bin/prometheus:prometheus.service /usr/bin/prometheus-alertmanager:prometheus-alertmanager.service; do
    [ -e "${server%%:*}" ] || IFS=: read -ra mine <<< "${server#*:}:$(IFS=:; echo "${mine[*]}")"
  done
  install "${testing[@]}"
  install "${browser[@]}" || say "no chromium here: the tests that look at the console's pages are skipped"
  [ ${#mine[@]} = 0 ] || ! command -v systemctl >/dev/null || as_root systemctl disable --now "${mine[@]}" >/dev/null 2>&1 || true
  # A node uses the first available stack of networks; the tests cover all of them.
  .venv/bin/python -m provisioning.setup.run --each
}

step_powercut() { install "${rigs[@]}"; }

step_container() { install "${container[@]}"; }

step_vm() { install "${machine[@]}"; }

step_arm64() { install "${foreign[@]}"; }

install() {
  command -v apt-get >/dev/null || { printf 'error: no apt-get here\nhint: Debian 12 or 13 is needed\n' >&2; exit 1; }
  local missing=()
  for name in "$@"; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q ' installed' || missing+=("$name")
  done
  [ ${#missing[@]} = 0 ] && return
  say "will install these Debian packages: ${missing[*]}"
  as_root apt-get update -qq
  # RUNLEVEL=1: start no daemon. Demo and tests start their own broker on 127.0.0.1.
  as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

step_venv() {
  local stamp=.venv/lock.sha256 now
  now=$(cat requirements/all.txt pyproject.toml central/pyproject.toml provisioning/setup/setup.sh | sha256sum)
  [ -x .venv/bin/lykta ] && [ "$(cat "$stamp" 2>/dev/null)" = "$now" ] && return
  say "will make .venv/ with the $(grep -c '^[a-z]' requirements/all.txt) packages of requirements/all.txt, each checked by its hash"
  rm -f "$stamp"
  [ -x .venv/bin/python ] || python3 -m venv .venv
  # First setuptools and wheel in the locked versions: source packages are built with these, not with the newest versions.
  locked "$(command -v .venv/bin/pip)" <(lines_of setuptools wheel packaging < requirements/all.txt)
  locked .venv/bin/pip requirements/all.txt
  .venv/bin/pip install -q --no-build-isolation --no-deps -e .
  .venv/bin/pip install -q --no-build-isolation --no-deps -e ./central
  printf '%s\n' "$now" > "$stamp"
}

locked() { "$1" install -q --disable-pip-version-check --no-build-isolation --require-hashes -r "$2"; }

# The lock's entries of some packages: a line that begins with name== and its hashes.
lines_of() {
  local names; names=$(IFS='|'; echo "$*")
  awk -v names="^($names)==" '$0 ~ /^[a-zA-Z]/ { keep = $0 ~ names } keep && !/^ *#/'
}

step_models() { .venv/bin/python -m provisioning.setup.run; }

step_pi() {
  say "will install libcamera's Python binding and the build dependencies of picamera2"
  as_root apt-get install -y -qq --no-install-recommends libcap-dev python3-libcamera >&2
  for name in python3-lgpio python3-kms++; do # Raspberry Pi OS has both, Debian 13 has neither
    as_root apt-get install -y -qq --no-install-recommends "$name" >&2 2>/dev/null || say "no package $name here"
  done
  sed -i 's/^include-system-site-packages = false/include-system-site-packages = true/' .venv/pyvenv.cfg
  locked .venv/bin/pip requirements/pi.txt
}

step_bench() {
  local stamp=out/bench-venv/lock.sha256 now
  now=$(sha256sum < requirements/bench.txt)
  [ "$(cat "$stamp" 2>/dev/null)" = "$now" ] && return
  say "will make out/bench-venv/ with deface 1.5.0 for comparison"
  python3 -m venv out/bench-venv
  locked out/bench-venv/bin/pip requirements/bench.txt
  printf '%s\n' "$now" > "$stamp"
}

for step in "$@"; do "step_$step"; done
