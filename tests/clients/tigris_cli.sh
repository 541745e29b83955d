#!/usr/bin/env bash
# Tigris' command line, with the endpoint set.
source "$(dirname "$0")/common.sh"

export TIGRIS_STORAGE_ACCESS_KEY_ID=$AWS_ACCESS_KEY_ID TIGRIS_STORAGE_ENDPOINT=$AWS_ENDPOINT_URL_S3
export TIGRIS_STORAGE_SECRET_ACCESS_KEY=$AWS_SECRET_ACCESS_KEY TIGRIS_NO_UPDATE_CHECK=1
t3() { node "$CLIENTS/node_modules/@tigrisdata/cli/dist/cli.js" "$@" </dev/null 2>&1; }
bucket=tigris-cli
tree

t3 mk "$bucket"
has "$bucket" "$(t3 ls)"
t3 cp "tree/with blank/a+b&c=d%41.txt" "t3://$bucket/a+b&c=d%41.txt"
has "a+b&c=d%41.txt" "$(t3 ls "$bucket")"
has "4 B" "$(t3 stat "$bucket/a+b&c=d%41.txt")"
t3 cp "t3://$bucket/a+b&c=d%41.txt" back
cmp "tree/with blank/a+b&c=d%41.txt" back
url=$(t3 presign "$bucket/a+b&c=d%41.txt" | grep '^http')
node -e 'fetch(process.argv[1]).then(a => a.text()).then(t => process.exit(t === "plus" ? 0 : 1))' "$url" ||
  fail "not to be had at $url"
t3 mv "t3://$bucket/a+b&c=d%41.txt" "t3://$bucket/moved" -f
has "moved" "$(t3 objects list "$bucket")"
t3 touch "$bucket/empty"
t3 rm "t3://$bucket/moved" -f
t3 rm "t3://$bucket/empty" -f
lacks "moved" "$(t3 objects list "$bucket")"
t3 rm "t3://$bucket" -f
lacks "$bucket" "$(t3 ls)"
