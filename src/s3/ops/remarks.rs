//! What a user should know of operations that are there, for the documentation.

/// Operations, and what there is to say of them.
pub(super) static REMARKS: &[(&[&str], &str)] = &[
    (
        &["CompleteMultipartUpload", "AbortMultipartUpload"],
        "Decided by the region that began the upload, asked by the others; while it is away, \
         ServiceUnavailable with its name.",
    ),
    (
        &["CopyObject"],
        "Moves no bytes where source and copy have the same regions. The copy keeps those of its \
         source unless the request names others or replaces the metadata.",
    ),
    (
        &["CreateMultipartUpload"],
        "`X-Godwit-Regions` (or `X-Tigris-Regions`) says where the object and its parts may \
         lie, as in PutObject, CopyObject and a field of PostObject: some of the bucket's regions.",
    ),
    (
        &["CreateBucket"],
        "A bucket of one's own made again stays as it is: 200 where no location is asked for, \
         else BucketAlreadyOwnedByYou. LocationConstraint is empty, `auto`, a region or regions \
         with commas; `X-Godwit-Regions` (or `X-Tigris-Regions`) says the same.",
    ),
    (
        &["DeleteBucketReplication", "GetBucketReplication"],
        "One rule that says how many copies there are and where they may be; none where the bytes \
         lie in one region. It cannot be taken away.",
    ),
    (
        &["CompleteMultipartUpload", "CopyObject", "DeleteObject", "PutObject"],
        "If-Match, If-None-Match and the dates are decided in one order for each key, whatever \
         region each request enters by. `X-Godwit-Consistent: true` (or `X-Tigris-Consistent`) \
         has a change without conditions decided so too.",
    ),
    (
        &["GetBucketAcl", "GetObjectAcl", "PutBucketAcl", "PutObjectAcl"],
        "Grants by canonical id and group; no account has an email address. The bucket's owner \
         reads every object in it, whoever owns it.",
    ),
    (
        &["GetBucketOwnershipControls", "PutBucketOwnershipControls"],
        "A new bucket is ObjectWriter, so that ACLs work, and has no controls to show.",
    ),
    (
        &["GetObject"],
        "One range a request; `partNumber`; all four conditions; `response-*`. With \
         `X-Godwit-Consistent: true` (or `X-Tigris-Consistent`) GetObject, HeadObject, \
         GetObjectAttributes and GetObjectTagging see every conditional change that was answered \
         before.",
    ),
    (&["GetObjectTorrent"], "NoSuchKey: no object has a torrent."),
    (
        &["ListObjects", "ListObjectsV2"],
        "With `X-Godwit-Prefetch: true` (or `X-Tigris-Prefetch`) the listed objects are brought \
         into the region that answers: those of up to 16 MiB, 256 MiB of a page. With \
         `X-Godwit-Consistent: true` (or `X-Tigris-Consistent`) they and ListObjectVersions show every \
         conditional change that was answered before.",
    ),
    (
        &["PostObject"],
        "Signatures 4 and 2 or none. A field that is missing counts as empty in conditions; \
         `x-amz-checksum-*` needs no condition; fields that are there twice are refused.",
    ),
    (
        &["Preflight of a bucket", "Preflight of an object"],
        "What OPTIONS is for: it asks the rules of PutBucketCors.",
    ),
    (
        &["PutBucketAccelerateConfiguration"],
        "Kept and shown; every bucket is answered by the nearest region without it.",
    ),
    (
        &["PutBucketEncryption"],
        "SSE-S3 and SSE-KMS with the keys of the nodes' keyring. SSE-C, SSE-S3 and SSE-KMS in \
         every operation on objects, without encryption contexts and DSSE.",
    ),
    (
        &["PutBucketLifecycleConfiguration"],
        "Both forms of rules. Transitions are \
         InvalidStorageClass: there is one storage tier.",
    ),
    (
        &["PutBucketLogging"],
        "Delivered every five minutes or MiB of a bucket, best effort. The target may be another \
         account's where its policy lets `logging.s3.amazonaws.com` write.",
    ),
    (
        &["PutBucketNotificationConfiguration"],
        "Queues and topics whose ARN names a webhook of the node's settings: \
         `arn:godwit:sqs::NAME:webhook`, or `arn:aws:sqs:REGION:ACCOUNT:NAME`. No test event is \
         sent; functions and the event bus are refused.",
    ),
    (
        &["PutBucketPolicy"],
        "Principals are accounts; variables are refused; `aws:username` is the access key's \
         id; `aws:SecureTransport` is true over TLS of the port itself, and behind a TLS proxy on the \
         same machine that sends `X-Forwarded-Proto: https`.",
    ),
    (
        &["PutBucketRequestPayment"],
        "With Requester others than the owner must send `x-amz-request-payer`; nobody is billed.",
    ),
    (
        &["PutBucketWebsite"],
        "Served anonymously below `GODWIT_WEBSITE_DOMAINS` and `web.localhost`, and by the \
         bucket's name as a host where `GODWIT_WEBSITE_OWN_HOSTS` is set.",
    ),
    (&["RenameObject"], "Any bucket that never had versions; moves no bytes."),
    (&["GetBucket as JSON"], "`GET /bucket?metadata`, as Tigris' SDKs ask."),
    (
        &["ListBuckets as JSON"],
        "Asked for by `Accept: application/json`; counts are those of the region that answers.",
    ),
    (
        &["PatchBucket with JSON"],
        "`PATCH /bucket` with `acl_settings`, `cors`, `lifecycle_rules`, `object_notifications` \
         (the URL is that of a webhook of the node's settings), and lists in headers; they mean \
         what S3's own requests mean.",
    ),
    (
        &["Presign a URL"],
        "`POST /?func=presign`; the URL is path style and good for a week at most.",
    ),
];
