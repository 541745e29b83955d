#!/usr/bin/env bash
# litestream: a database that is written to is replicated, and restored whole.
source "$(dirname "$0")/common.sh"

cat >litestream.yml <<CFG
dbs:
  - path: $WORK/app.db
    replicas:
      - {type: s3, bucket: litestream, path: app, endpoint: "$AWS_ENDPOINT_URL_S3", region: auto,
         force-path-style: true, sync-interval: 200ms}
CFG
sql() { python -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
for statement in sys.argv[2:]:
    for row in db.execute(statement): print(*row)
    db.commit()' "$@"; }
python -c 'import boto3; boto3.client("s3").create_bucket(Bucket="litestream")'

sql app.db 'pragma journal_mode=wal' 'create table t(n)'
litestream replicate -config litestream.yml >replicate.log 2>&1 &
replicate=$!
for n in $(seq 50); do sql app.db "insert into t values($n)"; done
# It hands over what is left when it is told to stop.
kill -INT "$replicate"
wait "$replicate" || fail "litestream: $(cat replicate.log)"
lacks "level=ERROR" "$(cat replicate.log)"
litestream restore -config litestream.yml -o back.db "$WORK/app.db"
has "50 1275" "$(sql back.db 'select count(*), sum(n) from t')"
