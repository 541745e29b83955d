#!/usr/bin/env bash
# rclone, which compares hashes and times of what it copied by itself.
source "$(dirname "$0")/common.sh"

cat >rclone.conf <<CFG
[g]
type = s3
provider = Other
access_key_id = $AWS_ACCESS_KEY_ID
secret_access_key = $AWS_SECRET_ACCESS_KEY
endpoint = $AWS_ENDPOINT_URL_S3
region = auto
force_path_style = true
CFG
rc() { rclone --config rclone.conf --retries 1 "$@"; }
bucket=rclone
tree
large

rc mkdir "g:$bucket"
has "$bucket" "$(rc lsd g:)"
rc copyto tree/hello.txt "g:$bucket/hello.txt"
has "6 hello.txt" "$(rc ls "g:$bucket")"
cmp tree/hello.txt <(rc cat "g:$bucket/hello.txt")
rc copyto "g:$bucket/hello.txt" "g:$bucket/copy of hello.txt"
cmp tree/hello.txt <(rc cat "g:$bucket/copy of hello.txt")
has "b1946ac92492d2347c6235b4d2611184  copy of hello.txt" "$(rc md5sum "g:$bucket")"
rc deletefile "g:$bucket/copy of hello.txt"
lacks "copy of" "$(rc ls "g:$bucket")"

rc sync tree "g:$bucket/tree"
rc check --download tree "g:$bucket/tree"
rc sync "g:$bucket/tree" again
diff -r tree again
rm -r "tree/with blank"
rc sync tree "g:$bucket/tree"
lacks "blank" "$(rc ls "g:$bucket")"

rc copyto --s3-upload-cutoff 16M --s3-chunk-size 16M large "g:$bucket/large"
rc copyto "g:$bucket/large" large.back
cmp large large.back

cmp tree/hello.txt <(fetch "$(rc link "g:$bucket/hello.txt")")
rc purge "g:$bucket"
lacks "$bucket" "$(rc lsd g:)"
