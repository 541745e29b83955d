#!/usr/bin/env bash
# duplicity: a full and an incremental backup, verified and restored.
source "$(dirname "$0")/common.sh"

tree
python -c 'import boto3; boto3.client("s3").create_bucket(Bucket="duplicity")'
url="boto3+s3://duplicity/backup"
dup() { duplicity "$@" --s3-endpoint-url "$AWS_ENDPOINT_URL_S3" --no-encryption --archive-dir "$WORK/archive"; }

dup full tree "$url"
echo more >tree/hello.txt
dup incr tree "$url"
has "Number of contained backup sets: 2" "$(dup collection-status "$url")"
has "0 difference(s) found" "$(dup verify "$url" tree)"
# As another machine would: with nothing but what is stored.
rm -r archive
dup restore "$url" back
diff -r tree back
