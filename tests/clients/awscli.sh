#!/usr/bin/env bash
# The AWS command line, as `godwit storage create` sets it up: by five variables.
source "$(dirname "$0")/common.sh"

export AWS_PAGER=
bucket=awscli
tree
large

aws s3 mb "s3://$bucket"
has "$bucket" "$(aws s3 ls)"
aws s3 cp --no-progress tree/hello.txt "s3://$bucket/hello.txt" --metadata colour=blue
has "hello.txt" "$(aws s3 ls "s3://$bucket")"
aws s3 cp --no-progress "s3://$bucket/hello.txt" back.txt
cmp tree/hello.txt back.txt
head=$(aws s3api head-object --bucket "$bucket" --key hello.txt)
has '"colour": "blue"' "$head"
has '"ContentLength": 6' "$head"
aws s3 cp --no-progress "s3://$bucket/hello.txt" "s3://$bucket/copy of hello.txt"
cmp tree/hello.txt <(aws s3 cp "s3://$bucket/copy of hello.txt" -)
aws s3 rm "s3://$bucket/copy of hello.txt"
lacks "copy of" "$(aws s3 ls "s3://$bucket")"
if aws s3api head-object --bucket "$bucket" --key missing; then fail "a missing key has a head"; fi

aws s3 sync --no-progress tree "s3://$bucket/tree"
aws s3 sync --no-progress "s3://$bucket/tree" again
diff -r tree again
rm -r "tree/with blank"
aws s3 sync --no-progress --delete tree "s3://$bucket/tree"
lacks "blank" "$(aws s3 ls --recursive "s3://$bucket/")"

aws s3 cp --no-progress large "s3://$bucket/large"
aws s3 cp --no-progress "s3://$bucket/large" large.back
cmp large large.back
has '-' "$(aws s3api head-object --bucket "$bucket" --key large --query ETag --output text)"

cmp tree/hello.txt <(fetch "$(aws s3 presign "s3://$bucket/hello.txt")")

if aws s3 rb "s3://$bucket"; then fail "a bucket with objects was deleted"; fi
aws s3 rb --force "s3://$bucket"
lacks "$bucket" "$(aws s3 ls)"
