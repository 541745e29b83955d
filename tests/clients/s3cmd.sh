#!/usr/bin/env bash
# s3cmd, with the configuration file that users of SOS have. The argument is the signature version.
source "$(dirname "$0")/common.sh"

case $1 in 2) v2=True ;; 4) v2=False ;; esac
cat >s3cfg <<CFG
[default]
host_base = localhost:$HOST_PORT
host_bucket = %(bucket)s.localhost:$HOST_PORT
access_key = $AWS_ACCESS_KEY_ID
secret_key = $AWS_SECRET_ACCESS_KEY
use_https = False
signature_v2 = $v2
bucket_location = auto
CFG
s3() { s3cmd --config=s3cfg --no-progress "$@"; }
bucket=s3cmd-v$1
tree
large

s3 mb "s3://$bucket"
has "s3://$bucket" "$(s3 ls)"
s3 put tree/hello.txt "s3://$bucket/hello.txt" --add-header=x-amz-meta-colour:blue
has "s3://$bucket/hello.txt" "$(s3 ls "s3://$bucket")"
s3 get "s3://$bucket/hello.txt" back.txt
cmp tree/hello.txt back.txt
info=$(s3 info "s3://$bucket/hello.txt")
has "File size: 6" "$info"
has "b1946ac92492d2347c6235b4d2611184" "$info"
has "x-amz-meta-colour" "$info"
s3 cp "s3://$bucket/hello.txt" "s3://$bucket/copy of hello.txt"
s3 get "s3://$bucket/copy of hello.txt" copy.txt
cmp tree/hello.txt copy.txt
s3 del "s3://$bucket/copy of hello.txt"
lacks "copy of" "$(s3 ls "s3://$bucket")"
if s3 get "s3://$bucket/missing" missing.txt; then fail "got what is not there"; fi

s3 sync tree/ "s3://$bucket/tree/"
s3 sync "s3://$bucket/tree/" again/
diff -r tree again
rm -r "tree/with blank"
s3 sync --delete-removed tree/ "s3://$bucket/tree/"
lacks "blank" "$(s3 ls --recursive "s3://$bucket/")"

s3 put large "s3://$bucket/large" --multipart-chunk-size-mb=15
s3 get "s3://$bucket/large" large.back
cmp large large.back

cmp tree/hello.txt <(fetch "$(s3 signurl "s3://$bucket/hello.txt" +600 | sed "s#//$bucket.localhost#//localhost#; s#:$HOST_PORT/#:$HOST_PORT/$bucket/#")")

if s3 rb "s3://$bucket"; then fail "a bucket with objects was deleted"; fi
s3 del --recursive --force "s3://$bucket"
s3 rb "s3://$bucket"
lacks "$bucket" "$(s3 ls)"
