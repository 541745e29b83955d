#!/usr/bin/env bash
# Runs ceph/s3-tests against a cluster of its own and compares with the names that passed before.
#
#   tests/conformance/run.sh CHECKOUT [--regions N] [--update] [-k EXPRESSION]
#
# CHECKOUT is a working copy of https://github.com/ceph/s3-tests. Nothing of it is kept here, only
# the names of the tests that pass (passing.txt). What AWS itself fails (`fails_on_aws`) is left out.
# A name of passing.txt that no longer passes is reported and makes the run fail; `--update` writes
# the new names. With -k only those tests run and only those are compared.
#
#   GODWIT   the binary (target/release/godwit, else target/debug/godwit)
#   PYTHON   one with the suite's packages (an environment below target/ is made)
#   PORT     the first port (9700)
#   OUT      where report, server log and pytest's output go (a temporary directory)
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/conformance
target=${CARGO_TARGET_DIR:-$root/target}
suite=$(cd "${1:?the path of a checkout of s3-tests}" && pwd)
shift
regions=1 part=() update=() port=${PORT:-9700}
while [ $# -gt 0 ]; do
  case $1 in
    --regions) regions=$2; shift 2 ;;
    --update) update=(--update); shift ;;
    -k) part=(-k "$2"); shift 2 ;;
    *) echo "unknown: $1" >&2; exit 2 ;;
  esac
done

godwit=${GODWIT:-}
for built in "$target/release/godwit" "$target/debug/godwit"; do
  [ -n "$godwit" ] || { [ -x "$built" ] && godwit=$built; } || true
done
[ -n "$godwit" ] || { echo "no binary: cargo build, or set GODWIT" >&2; exit 2; }

python=${PYTHON:-$target/conformance-venv/bin/python}
if [ ! -x "$python" ]; then
  python3 -m venv "$target/conformance-venv"
  "$target/conformance-venv/bin/pip" install -q -r "$suite/requirements.txt" \
    pytest-timeout pytest-xdist 'botocore[crt]'
fi

out=${OUT:-$(mktemp -d)}
mkdir -p "$out"
# The two keys that the suite's tests of SSE-KMS name when nothing else is set.
GODWIT_ENCRYPTION_KEYS=$(for key in testkey-1 testkey-2; do "$godwit" keyring new "$key"; done)
export GODWIT_ENCRYPTION_KEYS
"$godwit" dev --json --no-wan --regions "$regions" --port "$port" \
  >"$out/dev.json" 2>"$out/godwit.log" &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true' EXIT
for _ in $(seq 300); do
  [ -s "$out/dev.json" ] && break
  kill -0 "$server" 2>/dev/null || { cat "$out/godwit.log" >&2; exit 1; }
  sleep 0.1
done

field() { "$python" -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
field_of() { "$python" -c "import json, sys; x = json.load(sys.stdin); print($1)"; }
AWS_ENDPOINT_URL_S3=$(field endpoint <"$out/dev.json")
AWS_ACCESS_KEY_ID=$(field access_key <"$out/dev.json")
AWS_SECRET_ACCESS_KEY=$(field secret_key <"$out/dev.json")
export AWS_ENDPOINT_URL_S3 AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY

# A section of the suite's settings, for an account that is made for it.
account() {
  local key
  key=$("$godwit" --json keys create --new-account)
  echo "[$1]"
  echo "access_key = $(field access_key <<<"$key")"
  echo "secret_key = $(field secret_key <<<"$key")"
  echo "user_id = $(field account <<<"$key")"
  echo "display_name = $(field account <<<"$key")"
  echo "email = ${1// /-}@example.com"
}

{
  printf '[DEFAULT]\nhost = 127.0.0.1\nport = %s\nis_secure = no\nssl_verify = no\n' "$port"
  printf '[fixtures]\nbucket prefix = conform-{random}-\n'
  printf 'iam name prefix = conform-\niam path prefix = /conform/\n'
  account "s3 main"
  echo "api_name = $(field_of 'x["regions"][0]["code"]' <"$out/dev.json")"
  account "s3 alt"
  account "s3 tenant"
  echo "tenant = tenant"
  for section in iam "iam root" "iam alt root"; do account "$section"; done
} >"$out/s3tests.conf"

cd "$suite"
export S3TEST_CONF=$out/s3tests.conf CONFORMANCE_REPORT=$out/report.jsonl
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$here AWS_EC2_METADATA_DISABLED=true
pytest() {
  nice -n 5 "$python" -m pytest -p observe -p no:cacheprovider -q --timeout 120 \
    -m "not fails_on_aws" "$@" >>"$out/pytest.txt" 2>&1 || true
}
files=(s3tests/functional/test_s3.py s3tests/functional/test_headers.py)
# This one counts all buckets of the account, so that it runs before the others.
alone=s3tests/functional/test_s3.py::test_list_buckets_paginated
: >"$CONFORMANCE_REPORT"
: >"$out/pytest.txt"
[ ${#part[@]} -gt 0 ] || pytest "$alone"
pytest -n "${WORKERS:-2}" "${part[@]}" --deselect "$alone" "${files[@]}"
[ -s "$CONFORMANCE_REPORT" ] || { tail -20 "$out/pytest.txt" >&2; exit 1; }
echo "report: $CONFORMANCE_REPORT"
"$python" "$here/judge.py" "$CONFORMANCE_REPORT" "$here/passing.txt" \
  "${update[@]}" ${part:+--part}
