#!/bin/sh
# Restarts each service whose files have another content than when this last looked; the first look only notes it.
# usage: reread ETC STATE
set -eu
cd "$1"
state=$2
mkdir -p "$state"

files() {
  case $1 in
    camera) echo lykta.toml config.jws basis.jws view.jws trust/* credentials/camera.cred credentials/camera.pem ;;
    io) echo lykta.toml config.jws trust/ca.pem trust/command-keys.jws credentials/io.cred credentials/io.pem ;;
    uplink) echo lykta.toml config.jws trust/ca.pem credentials/tls.cred credentials/tls.pem credentials/uplink.cred credentials/uplink.pem ;;
  esac
}

# Again until nothing changes: a bundle brings several files, and systemd is deaf while this runs. At boot nobody waits.
changed=yes
while [ "$changed" ]; do
  [ ! -e "$state/uplink" ] || sleep 1
  changed=
  for service in camera io uplink; do
    # shellcheck disable=SC2046
    now=$(sha256sum $(files $service) 2>/dev/null | sha256sum)
    if [ ! -e "$state/$service" ]; then
      echo "$now" > "$state/$service"
    elif [ "$now" != "$(cat "$state/$service")" ]; then
      changed=yes
      echo "$now" > "$state/$service"
      echo "lykta-$service reads anew"
      systemctl --no-block restart "lykta-$service.service"
    fi
  done
done
