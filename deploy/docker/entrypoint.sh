#!/bin/sh
# Runs godwit as a user without rights. A volume that is mounted for the first time belongs to root:
# that is put right here, and only for the directory itself.
set -eu
data=${GODWIT_DATA:-/data}
user=${GODWIT_USER:-godwit}
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$data"
  if [ "$(stat -c %U "$data")" != "$user" ]; then
    chown "$user" "$data"
  fi
  exec setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups -- godwit "$@"
fi
exec godwit "$@"
