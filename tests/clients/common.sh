# What the scripts of the command line clients share. Set by the harness: HOST_PORT, WORK (an empty
# directory) and the AWS variables.
set -euo pipefail
cd "$WORK"

fail() { echo "failed: $*" >&2; exit 1; }

# Output of a command must have (or lack) a text.
has() { grep -qF -- "$1" <<<"$2" || fail "no \`$1\` in: $2"; }
lacks() { ! grep -qF -- "$1" <<<"$2" || fail "\`$1\` in: $2"; }

# A tree of files with names that are easy to get wrong, and one of 100 MiB.
tree() {
  mkdir -p tree/deep/er "tree/with blank" tree/ünïcode
  printf 'hello\n' >tree/hello.txt
  head -c 3000000 /dev/urandom >tree/deep/er/three-megabytes
  printf 'plus' >'tree/with blank/a+b&c=d%41.txt'
  printf 'é' >tree/ünïcode/é.txt
  : >tree/empty
}
large() { head -c 104857600 /dev/urandom >large; }

# Fetches a URL with nothing but Python's library, and sends a file to one.
fetch() { python -c 'import sys, urllib.request as u; sys.stdout.buffer.write(u.urlopen(sys.argv[1]).read())' "$1"; }
