#!/usr/bin/env bash
# Runs a command in an arm64 tree on this machine: a static qemu-aarch64 by a binfmt_misc of its own, in namespaces that end with
# the command, so that nothing is registered for the rest of the machine (Linux 6.7 or newer).
# usage: enter.sh QEMU ROOT COMMAND...
set -euo pipefail
if [ "${LYKTA_ENTERED:-}" != 1 ]; then
  exec unshare --user --map-root-user --mount --pid --fork --kill-child env LYKTA_ENTERED=1 "$0" "$@"
fi
qemu=$1 root=$2; shift 2
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
# an ELF of 64 bits, little endian, for machine 183
printf '%s' ":lykta-arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:$qemu:FP" \
  > /proc/sys/fs/binfmt_misc/register
mkdir -p "$root/proc" "$root/dev" "$root/etc/ssl/certs"
mount --rbind /dev "$root/dev"; mount --rbind /proc "$root/proc"; mount --bind /etc/ssl/certs "$root/etc/ssl/certs"
exec chroot "$root" "$@"
