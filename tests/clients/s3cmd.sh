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

s3 setacl --acl-public "s3://$bucket/hello.txt"
has "*anon*: READ" "$(s3 info "s3://$bucket/hello.txt")"
cmp tree/hello.txt <(fetch "http://localhost:$HOST_PORT/$bucket/hello.txt")
s3 setacl --acl-private "s3://$bucket/hello.txt"
lacks "*anon*" "$(s3 info "s3://$bucket/hello.txt")"
if fetch "http://localhost:$HOST_PORT/$bucket/hello.txt" 2>denied; then fail "a private object is public"; fi
has "403" "$(cat denied)"

rule="<AllowedOrigin>https://a.example</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"
echo "<CORSConfiguration><CORSRule>$rule</CORSRule></CORSConfiguration>" >cors.xml
s3 setcors cors.xml "s3://$bucket"
has "https://a.example" "$(s3 info "s3://$bucket")"
s3 delcors "s3://$bucket"
has "CORS:      none" "$(s3 info "s3://$bucket")"

statement='"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::'$bucket'/tree/*"'
echo "{\"Version\":\"2012-10-17\",\"Statement\":[{$statement}]}" >policy.json
s3 setpolicy policy.json "s3://$bucket"
has "s3:GetObject" "$(s3 info "s3://$bucket")"
cmp tree/hello.txt <(fetch "http://localhost:$HOST_PORT/$bucket/tree/hello.txt")
s3 delpolicy "s3://$bucket"
if fetch "http://localhost:$HOST_PORT/$bucket/tree/hello.txt" 2>denied; then fail "a deleted policy lets in"; fi

s3 expire --expiry-days=3 --expiry-prefix=tree/ "s3://$bucket"
has "expiration rule" "$(s3 info "s3://$bucket" | tr '[:upper:]' '[:lower:]')"
s3 dellifecycle "s3://$bucket"
lacks "<Rule>" "$(s3 getlifecycle "s3://$bucket" 2>&1 || true)"
rule="<ID>old</ID><Filter><Prefix>tree/</Prefix></Filter><Status>Enabled</Status>"
rule="<Rule>$rule<Expiration><Days>5</Days></Expiration></Rule>"
echo "<LifecycleConfiguration>$rule</LifecycleConfiguration>" >lifecycle.xml
s3 setlifecycle lifecycle.xml "s3://$bucket"
shown=$(s3 getlifecycle "s3://$bucket")
has "<Prefix>tree/</Prefix>" "$shown"
has "<Days>5</Days>" "$shown"
s3 dellifecycle "s3://$bucket"

s3 ws-create --ws-index=start.html --ws-error=lost.html "s3://$bucket"
shown=$(s3 ws-info "s3://$bucket")
has "start.html" "$shown"
has "lost.html" "$shown"
s3 ws-delete "s3://$bucket"
lacks "start.html" "$(s3 ws-info "s3://$bucket" 2>&1 || true)"

# Destinations are the node's to name, and this one has none: an empty setting, or a refusal.
echo "<NotificationConfiguration/>" >notification.xml
s3 setnotification notification.xml "s3://$bucket"
lacks "<Event>" "$(s3 getnotification "s3://$bucket")"
topic="<Topic>arn:aws:sns:auto:0:nowhere</Topic><Event>s3:ObjectCreated:*</Event>"
echo "<NotificationConfiguration><TopicConfiguration>$topic</TopicConfiguration></NotificationConfiguration>" >notification.xml
if s3 setnotification notification.xml "s3://$bucket" 2>denied; then fail "took a topic that is not there"; fi
has "InvalidArgument" "$(cat denied)"
s3 delnotification "s3://$bucket"

s3 modify --add-header=x-amz-meta-shape:round --mime-type=text/x-thing "s3://$bucket/hello.txt"
info=$(s3 info "s3://$bucket/hello.txt")
has "x-amz-meta-shape: round" "$info"
has "x-amz-meta-colour: blue" "$info"
has "text/x-thing" "$info"
s3 mv "s3://$bucket/hello.txt" "s3://$bucket/moved +%41.txt"
has "moved +%41.txt" "$(s3 ls --long-listing "s3://$bucket/moved")"
lacks "/hello.txt" "$(s3 ls "s3://$bucket/")"
has "6 " "$(s3 du "s3://$bucket/moved")"
s3 settagging "s3://$bucket" "k=v&x=y"
has "k:" "$(s3 gettagging "s3://$bucket")"
s3 deltagging "s3://$bucket"
has "Logging Enabled: False" "$(s3 accesslog "s3://$bucket")"

# An upload that stands open is listed, and can be given up by its id.
upload=$(python -c 'import boto3, sys
print(boto3.client("s3").create_multipart_upload(Bucket=sys.argv[1], Key="open")["UploadId"])' "$bucket")
has "s3://$bucket/open	$upload" "$(s3 multipart "s3://$bucket")"
s3 listmp "s3://$bucket/open" "$upload"
s3 abortmp "s3://$bucket/open" "$upload"
lacks "$upload" "$(s3 multipart "s3://$bucket")"

if s3 rb "s3://$bucket"; then fail "a bucket with objects was deleted"; fi
s3 del --recursive --force "s3://$bucket"
s3 rb "s3://$bucket"
lacks "$bucket" "$(s3 ls)"
