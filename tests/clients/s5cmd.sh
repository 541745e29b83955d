#!/usr/bin/env bash
# s5cmd, which runs many operations at once over the Go SDK of the older kind.
source "$(dirname "$0")/common.sh"

export S3_ENDPOINT_URL=$AWS_ENDPOINT_URL_S3
bucket=s5cmd
tree
large

s5cmd mb "s3://$bucket"
has "s3://$bucket" "$(s5cmd ls)"
s5cmd cp 'tree/*' "s3://$bucket/tree/"
s5cmd cp "s3://$bucket/tree/*" again/
diff -r tree again
cmp tree/hello.txt <(s5cmd cat "s3://$bucket/tree/hello.txt")
has "tree/with blank/a+b&c=d%41.txt" "$(s5cmd ls "s3://$bucket/*")"
for key in 'a//b' '%41' '+' 'é' 'trailing ' '<&>'; do
  s5cmd cp --raw "tree/with blank/a+b&c=d%41.txt" "s3://$bucket/odd/$key"
  has plus "$(s5cmd cat --raw "s3://$bucket/odd/$key")"
done
[ "$(s5cmd ls "s3://$bucket/odd/*" | wc -l)" = 6 ] || fail "not all odd keys are listed"
s5cmd cp --raw "s3://$bucket/odd/%41" "s3://$bucket/odd/copy of +"
has plus "$(s5cmd cat "s3://$bucket/odd/copy of +")"
rm -r "tree/with blank"
s5cmd sync --delete tree/ "s3://$bucket/tree/"
lacks "blank" "$(s5cmd ls "s3://$bucket/tree/*")"

s5cmd cp --part-size 15 large "s3://$bucket/large"
s5cmd cp --part-size 10 --concurrency 5 "s3://$bucket/large" large.back
cmp large large.back
has "-7" "$(s5cmd --json ls --etag "s3://$bucket/large")"
s5cmd mv "s3://$bucket/large" "s3://$bucket/moved"
has "104857600" "$(s5cmd du "s3://$bucket/moved")"
if s5cmd cat "s3://$bucket/large"; then fail "what was moved is still there"; fi

seq 300 | sed "s#.*#cp tree/hello.txt s3://$bucket/many/&#" >many.txt
s5cmd run many.txt
[ "$(s5cmd ls "s3://$bucket/many/*" | wc -l)" = 300 ] || fail "not all of many are listed"
cmp tree/hello.txt <(fetch "$(s5cmd presign "s3://$bucket/tree/hello.txt")")
if s5cmd rb "s3://$bucket"; then fail "a bucket with objects was deleted"; fi
s5cmd rm "s3://$bucket/*"
s5cmd rb "s3://$bucket"
lacks "$bucket" "$(s5cmd ls)"
