#!/usr/bin/env bash
# Makes the Debian 13 tree that the container suite boots: OUT/root, with /opt/lykta, a virtual environment of Debian 13's own
# Python with the hash-locked packages of a node on a Pi, stock picamera2 included. The node's own code is not in it: each run
# lays that over the tree. Made anew when this file or the lock changes. Root; needs mmdebstrap and this machine's mirrors.
# usage: tree.sh OUT
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
out=$1; mkdir -p "$out"; out=$(cd "$out" && pwd)
now=$(cat "$here/tests/container/tree.sh" "$here"/requirements/{pi,all}.txt | sha256sum)
exec 9> "$out/lock"; flock 9 # the suite waits for a tree that is under way
[ "$(cat "$out/stamp" 2>/dev/null)" = "$now" ] && exit 0

packages=(
  systemd-sysv systemd-resolved systemd-timesyncd udev dbus kmod iproute2 nftables openssh-server ca-certificates tzdata openssl
  mosquitto mosquitto-clients python3 python3-venv python3-dev gcc pkg-config libsystemd-dev libcap-dev python3-libcamera libcamera-ipa libcamera-tools v4l-utils
)
printf 'tree: a Debian 13 of %s packages and their dependencies, about two minutes\n' "${#packages[@]}" >&2
# Only ever what this script made, and nothing mounted inside it.
rm -rf --one-file-system "$out/root" "$out/stamp"
mmdebstrap --quiet --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" --format=directory \
  --setup-hook='mkdir -p "$1/etc" && echo lykta-test > "$1/etc/hostname"' trixie "$out/root"

# In a mount namespace of its own, so that nothing stays mounted whatever happens.
unshare --mount --propagation private bash -euo pipefail -c '
  root=$1 locks=$2
  mount --bind /etc/ssl/certs "$root/etc/ssl/certs"
  mount -t proc proc "$root/proc"; mount --bind /dev "$root/dev"
  mount -t tmpfs tmpfs "$root/mnt"; cp "$locks"/pi.txt "$root/mnt/"; cp -L /etc/resolv.conf "$root/mnt/"
  chroot "$root" python3 -m venv --system-site-packages /opt/lykta
  if [ -e "$root/etc/resolv.conf" ] || [ -L "$root/etc/resolv.conf" ]; then mv "$root/etc/resolv.conf" "$root/etc/resolv.conf.own"; fi
  cp "$root/mnt/resolv.conf" "$root/etc/resolv.conf"
  trap "rm -f $root/etc/resolv.conf; [ ! -L $root/etc/resolv.conf.own ] || mv $root/etc/resolv.conf.own $root/etc/resolv.conf" EXIT
  # setuptools from the lock builds the source packages; pytest runs the suites that need what only a node has
  awk "/^(setuptools|wheel|packaging|pytest|iniconfig|pluggy|pygments)==/ { keep = 1; print; next } /^[a-zA-Z]/ { keep = 0 } keep && !/^ *#/" "$locks/all.txt" > "$root/mnt/build.txt"
  chroot "$root" /opt/lykta/bin/pip install -q --require-hashes -r /mnt/build.txt
  chroot "$root" /opt/lykta/bin/pip install -q --no-build-isolation --require-hashes -r /mnt/pi.txt
' tree "$out/root" "$here/requirements"
printf '%s\n' "$now" > "$out/stamp"
