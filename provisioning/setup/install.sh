#!/usr/bin/env bash
# Installs units, users, folders and drop-ins at the paths of a package, and the program in /opt/lykta: a copy of the checkout's
# virtual environment that only root may change, because root runs it. If there is no virtual environment (in a package or a test),
# the program is not copied.
# usage: install.sh [ROOT]   ROOT: the tree to install into, default /. Enables lykta.target; starts nothing.
set -euo pipefail
from=$(cd "$(dirname "$0")/../../systemd" && pwd)
project=$(cd "$from/.." && pwd)
root=${1:-}; root=${root%/}

put() { install -D -m 644 "$from/$1" "$root/$2"; }

for unit in "$from"/*.service "$from"/*.path "$from"/*.socket "$from"/*.timer "$from"/*.target; do
  name=${unit##*/}
  put "$name" "usr/lib/systemd/system/$name"
  # Enable the unit as `systemctl enable` does; in a tree no systemctl is available.
  wanted=$(sed -n 's/^WantedBy=//p' "$unit")
  [ -z "$wanted" ] && continue
  mkdir -p "$root/etc/systemd/system/$wanted.wants"
  ln -sfn "/usr/lib/systemd/system/$name" "$root/etc/systemd/system/$wanted.wants/$name"
done
install -D -m 755 "$from/reread.sh" "$root/usr/lib/lykta/reread"
put lykta.sysusers.conf usr/lib/sysusers.d/lykta.conf
put lykta.tmpfiles.conf usr/lib/tmpfiles.d/lykta.conf
put lykta.rules usr/lib/udev/rules.d/60-lykta.rules
put lykta-watchdog.conf usr/lib/systemd/system.conf.d/lykta.conf
put lykta-timesyncd.conf usr/lib/systemd/system/systemd-timesyncd.service.d/lykta.conf
put lykta.nft usr/lib/lykta/lykta.nft
# The number 00 makes it the first file: sshd uses the first value that it reads.
put lykta-sshd.conf etc/ssh/sshd_config.d/00-lykta.conf
put lykta-data.conf usr/lib/systemd/system/var-lib-lykta.mount.d/lykta.conf
if [ -e "$project/.venv/bin/python" ]; then
  "$project/provisioning/setup/copy_program.sh" "$project" "$root/opt/lykta" /opt/lykta
fi
if [ -x "$project/.venv/bin/lykta" ]; then
  "$project/.venv/bin/lykta" man | install -D -m 644 /dev/stdin "$root/usr/share/man/man1/lykta.1"
fi
mkdir -p "$root/usr/bin" && ln -sfn /opt/lykta/bin/lykta "$root/usr/bin/lykta"
systemd-sysusers --root="${root:-/}"
# In a tree the folders are created at the first boot: the users of the tree are not known to this system.
[ -n "$root" ] || systemd-tmpfiles --create lykta.conf
