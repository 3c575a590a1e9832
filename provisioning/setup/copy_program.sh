#!/usr/bin/env bash
# Copies the virtual environment of `make setup` with the node's code to the folder from which the units run it: a copy that only
# root may change, whoever owns the checkout. The previous copy is replaced when the new one is complete.
# usage: copy_program.sh PROJECT TARGET PLACE   PLACE: the path of TARGET on the node, /opt/lykta
set -euo pipefail
project=$(cd "$1" && pwd) target=$2 place=$3 new=$2.new
mkdir -p "$(dirname "$target")"
rm -rf "$new"
cp -R --preserve=mode,timestamps,links "$project/.venv" "$new"
# Replace the editable install, which refers to the checkout, by the code itself.
packages=$(echo "$new"/lib/python3*/site-packages)
rm -rf "$packages"/__editable__*lykta* "$packages"/lykta-*.dist-info/direct_url.json
# A node must not contain the centre's code.
rm -f "$new/bin/lykta-central"
rm -rf "$packages"/lykta_central-*
for name in agent drivers privacy provisioning; do
  rm -rf "${packages:?}/$name"
  cp -R --preserve=timestamps "$project/$name" "$packages/$name"
  find "$packages/$name" -name __pycache__ -prune -exec rm -rf {} +
done
(grep -rIlF --exclude-dir=__pycache__ "$project/.venv" "$new/bin" "$new/pyvenv.cfg" || true) | xargs -r sed -i "s#$project/.venv#$place#g"
[ "$(id -u)" -ne 0 ] || chown -hR 0:0 "$new"
chmod -R u=rwX,go=rX "$new"
if [ -L "$target" ]; then rm "$target"; elif [ -e "$target" ]; then rm -rf "$target.old"; mv "$target" "$target.old"; fi
mv "$new" "$target"
rm -rf "$target.old"
