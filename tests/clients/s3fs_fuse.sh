#!/usr/bin/env bash
# s3fs-fuse: a bucket as a folder. Needs /dev/fuse, and the right to mount.
source "$(dirname "$0")/common.sh"

tree
head -c 30000000 /dev/urandom >large
mkdir mount
aws s3 mb s3://fuse
printf '%s:%s\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" >password
chmod 600 password
env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY s3fs fuse mount -f -o passwd_file=password \
  -o url="$AWS_ENDPOINT_URL_S3",use_path_request_style,endpoint=auto >s3fs.log 2>&1 &
mounter=$!
trap 'umount mount 2>/dev/null || true; wait "$mounter" || true' EXIT
for _ in $(seq 100); do
  mountpoint -q mount && break
  kill -0 "$mounter" || fail "s3fs: $(cat s3fs.log)"
  sleep 0.1
done
mountpoint -q mount || fail "not mounted after 10 s: $(cat s3fs.log)"

cp -r tree mount/tree
diff -r tree mount/tree
cp large mount/tree/large
mv mount/tree/large "mount/tree/deep/b +%41"
cmp large "mount/tree/deep/b +%41"
echo more >>mount/tree/hello.txt
has $'hello\nmore' "$(cat mount/tree/hello.txt)"
chmod 600 mount/tree/hello.txt
has "-rw-------" "$(ls -l mount/tree/hello.txt)"
truncate -s 3 mount/tree/hello.txt
has "hel" "$(cat mount/tree/hello.txt)"
ln -s tree/hello.txt mount/link
has "hel" "$(cat mount/link)"
rm -r mount/tree mount/link
[ -z "$(ls mount)" ] || fail "not empty: $(ls -R mount)"
umount mount
wait "$mounter"
