#!/usr/bin/env bash
# Makes what the virtual node has beyond the container's tree: a kernel with its initrd, TPM libraries, gpio-sim. OUT/layer
# is a layer over the tree of tests/container/tree.sh, which stays as it was made; OUT/vmlinuz and OUT/initrd are started directly.
# Debian builds no gpio-sim (CONFIG_GPIO_SIM is not set): it is built here from Debian's own linux-source of the same kernel.
# Made anew when this file or the tree changes. Root; needs this machine's mirrors.
# usage: system.sh TREE OUT
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
tree=$(cd "$1" && pwd); mkdir -p "$2"; out=$(cd "$2" && pwd)
now=$(cat "$tree/stamp" "$here/tests/vm/system.sh" | sha256sum)
exec 9> "$out/lock"; flock 9
[ "$(cat "$out/stamp" 2>/dev/null)" = "$now" ] && exit 0

export packages="linux-image-amd64 initramfs-tools zstd e2fsprogs procps gpiod
  libtss2-esys-3.0.2-0t64 libtss2-mu-4.0.1-0t64 libtss2-rc0t64 libtss2-tcti-device0t64 tpm2-tools"
export to_build="linux-headers-amd64 linux-source make xz-utils"
printf 'vm: a kernel, gpio-sim and TPM libraries over the tree, about four minutes\n' >&2
rm -rf --one-file-system "$out/layer" "$out/work" "$out/build" "$out/build-work" "$out/stamp"
mkdir -p "$out/root" "$out/layer" "$out/work" "$out/build" "$out/build-work"

# What a program in the tree needs of the outside, in a mount namespace of its own: nothing stays mounted whatever happens.
# Two layers, so that what is only needed to build gpio-sim does not come into the image.
unshare --mount --propagation private bash -euo pipefail -c '
  tree=$1 out=$2 root=$2/root
  enter() {
    mount --bind /etc/ssl/certs "$root/etc/ssl/certs"
    mount -t proc proc "$root/proc"; mount --bind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/mnt"; mount -t tmpfs tmpfs "$root/run"
    mkdir -p "$root/run/systemd/resolve"; cp -L /etc/resolv.conf "$root/run/systemd/resolve/stub-resolv.conf"
    [ -L "$root/etc/resolv.conf" ] || mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
  }
  leave() { umount -R "$root"; }
  get() { chroot "$root" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$@" >&2; }

  mount -t overlay overlay -o "lowerdir=$tree/root,upperdir=$out/layer,workdir=$out/work" "$root"
  [ -L "$root/etc/resolv.conf" ] || [ -e "$root/etc/resolv.conf" ] || ln -s ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
  enter
  chroot "$root" apt-get update -qq >&2
  mkdir -p "$root/etc/initramfs-tools/conf.d"
  echo MODULES=list > "$root/etc/initramfs-tools/conf.d/lykta"
  get $packages
  printf "%s\n" virtio_pci virtio_blk ext4 >> "$root/etc/initramfs-tools/modules"
  leave

  mount -t overlay overlay -o "lowerdir=$out/layer:$tree/root,upperdir=$out/build,workdir=$out/build-work" "$root"
  enter
  get $to_build
  kernel=$(ls "$root/boot" | sed -n "s/^vmlinuz-//p")
  mkdir "$root/mnt/sim"
  tar -xJf "$root"/usr/src/linux-source-*.tar.xz -C "$root/mnt/sim" --strip-components=3 --wildcards "*/drivers/gpio/gpio-sim.c" "*/kernel/irq/irq_sim.c"
  cd "$root/mnt/sim"
  # irq_sim is not built in either; a module cannot use irq_to_desc, which is not exported
  sed -i "s/irq_to_desc(\([a-z]*\))/irq_data_to_desc(irq_get_irq_data(\1))/" irq_sim.c
  echo "MODULE_LICENSE(\"GPL\");" >> irq_sim.c
  echo "obj-m := gpio-sim.o irq_sim.o" > Makefile
  chroot "$root" make -s -C "/usr/src/linux-headers-$kernel" M=/mnt/sim modules >&2
  mkdir -p "$out/layer/usr/lib/modules/$kernel/updates"
  cp ./*.ko "$out/layer/usr/lib/modules/$kernel/updates/"
  cd /; leave

  mount -t overlay overlay -o "lowerdir=$tree/root,upperdir=$out/layer,workdir=$out/work" "$root"
  enter
  chroot "$root" depmod "$kernel"
  chroot "$root" update-initramfs -u -k "$kernel" >&2
  chroot "$root" apt-get clean
  rm -rf "$root"/var/lib/apt/lists/*
  cp "$root/boot/vmlinuz-$kernel" "$out/vmlinuz"; cp "$root/boot/initrd.img-$kernel" "$out/initrd"
  leave
' system "$tree" "$out"
rm -rf --one-file-system "$out/build" "$out/build-work"
printf '%s\n' "$now" > "$out/stamp"
