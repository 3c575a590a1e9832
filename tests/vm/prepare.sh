#!/bin/sh
# In the virtual node, before its services: pins by gpio-sim, a camera-like device, and on the first boot keys sealed to its TPM.
set -eu
modprobe gpio-sim
modprobe vivid
for bank in node bench; do # the first is /dev/gpiochip0, the node's; the other is for the contract suite
  folder=/sys/kernel/config/gpio-sim/$bank
  mkdir -p "$folder/pins"
  echo 54 > "$folder/pins/num_lines"
  echo 1 > "$folder/live"
  lines=/sys/devices/platform/$(cat "$folder/dev_name")/$(cat "$folder/pins/chip_name")
  ln -sfn "$lines" "/run/lab-$bank"
  for line in 17 22 23 27; do echo pull-up > "$lines/sim_gpio$line/pull"; done
done
udevadm settle --timeout=30
for key in /etc/lykta/credentials/*.key; do
  [ ! -e "$key" ] || exec /opt/lykta/bin/lykta seal-keys
done
