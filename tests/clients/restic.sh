#!/usr/bin/env bash
# restic: a repository is made, backed up to, checked to the last byte, restored and pruned.
source "$(dirname "$0")/common.sh"

export RESTIC_PASSWORD=secret RESTIC_REPOSITORY="s3:$AWS_ENDPOINT_URL_S3/restic/repository"
export RESTIC_CACHE_DIR=$WORK/cache
tree
large
mv large tree/

restic init
restic backup tree
echo more >tree/hello.txt
restic backup tree
has "2 snapshots" "$(restic snapshots)"
has "no errors were found" "$(restic check --read-data)"
restic restore latest --target back
diff -r tree back/"$PWD"/tree || diff -r tree back/tree
restic forget --keep-last 1 --prune
has "1 snapshots" "$(restic snapshots)"
has "no errors were found" "$(restic check)"
