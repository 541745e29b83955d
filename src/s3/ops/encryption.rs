//! Server-side encryption: what requests ask for, what answers say, and a bucket's default.
//! Source: S3 user guide, "Using server-side encryption" (SSE-C, SSE-S3, SSE-KMS).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::limits;
use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{BodyKind, Op, sub_resource};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::bucket::SettingKind;
use crate::types::encryption::{BucketEncryption, KEY_BYTES, KeyName, SecretBytes, Sse, SseAsked};

pub(super) static OPS: &[Op] = &[
    sub_resource!(
        "DeleteBucketEncryption",
        Delete,
        Bucket,
        "encryption",
        PutEncryptionConfiguration,
        BodyKind::None,
        delete_default
    ),
    sub_resource!(
        "GetBucketEncryption",
        Get,
        Bucket,
        "encryption",
        GetEncryptionConfiguration,
        BodyKind::None,
        get_default
    ),
    sub_resource!(
        "PutBucketEncryption",
        Put,
        Bucket,
        "encryption",
        PutEncryptionConfiguration,
        BodyKind::Xml(limits::XML_BYTES_MAX),
        put_default
    ),
];

const SSE: &str = "x-amz-server-side-encryption";
const KMS_KEY_ID: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const KMS_CONTEXT: &str = "x-amz-server-side-encryption-context";
const AES256: &str = "AES256";
const KMS: &str = "aws:kms";

/// The three headers of a customer's key.
struct CustomerHeaders {
    algorithm: &'static str,
    key: &'static str,
    md5: &'static str,
}

const CUSTOMER: CustomerHeaders = CustomerHeaders {
    algorithm: "x-amz-server-side-encryption-customer-algorithm",
    key: "x-amz-server-side-encryption-customer-key",
    md5: "x-amz-server-side-encryption-customer-key-md5",
};

const SOURCE_CUSTOMER: CustomerHeaders = CustomerHeaders {
    algorithm: "x-amz-copy-source-server-side-encryption-customer-algorithm",
    key: "x-amz-copy-source-server-side-encryption-customer-key",
    md5: "x-amz-copy-source-server-side-encryption-customer-key-md5",
};

/// The encryption that a request asks for a new object.
pub(super) fn sse_asked(req: &Req) -> Result<SseAsked, S3Error> {
    if req.header(KMS_CONTEXT)?.is_some() {
        let why = "Encryption contexts of SSE-KMS are not implemented.";
        return Err(S3Error::with(Code::NotImplemented, why).extra("Header", KMS_CONTEXT));
    }
    let (sse, key_id) = (req.header(SSE)?, req.header(KMS_KEY_ID)?);
    if let Some(key) = customer_key(req)? {
        return match sse {
            None if key_id.is_none() => Ok(SseAsked::Customer(key)),
            sse => {
                let why = "Server Side Encryption with Customer provided key is incompatible \
                           with the encryption method specified";
                Err(S3Error::argument(SSE, sse.unwrap_or_default(), why))
            }
        };
    }
    match (sse, key_id) {
        (None, None) => Ok(SseAsked::Default),
        (Some(AES256), None) => Ok(SseAsked::S3),
        (Some(KMS), Some(id)) => Ok(SseAsked::Kms(key_name(id)?)),
        (Some(KMS), None) => {
            let why = "There is no key of the platform's own: SSE-KMS names a key of the keyring.";
            Err(S3Error::argument(KMS_KEY_ID, "", why))
        }
        (Some(AES256) | None, Some(id)) => {
            let why = "A key id is for x-amz-server-side-encryption: aws:kms.";
            Err(S3Error::argument(KMS_KEY_ID, id, why))
        }
        (Some(other), _) => {
            Err(S3Error::argument(SSE, other, "The encryption method specified is not supported."))
        }
    }
}

/// Refuses the headers that choose an encryption, where the object has one already.
pub(super) fn refuse_choice(req: &Req) -> Result<(), S3Error> {
    for name in [SSE, KMS_KEY_ID] {
        if let Some(value) = req.header(name)? {
            let why = format!("{name} header is not supported for this operation.");
            return Err(S3Error::argument(name, value, why));
        }
    }
    Ok(())
}

/// The key that the client brings for the object, where it brings one.
pub(super) fn customer_key(req: &Req) -> Result<Option<SecretBytes>, S3Error> {
    key_in(req, &CUSTOMER)
}

/// The same for the source of a copy.
pub(super) fn source_customer_key(req: &Req) -> Result<Option<SecretBytes>, S3Error> {
    key_in(req, &SOURCE_CUSTOMER)
}

fn key_in(req: &Req, names: &CustomerHeaders) -> Result<Option<SecretBytes>, S3Error> {
    let headers = (req.header(names.algorithm)?, req.header(names.key)?, req.header(names.md5)?);
    let incomplete = |name: &str| {
        let why = "Requests specifying Server Side Encryption with Customer provided keys must \
                   provide an encryption algorithm, an appropriate secret key and its MD5.";
        S3Error::argument(name, "null", why)
    };
    let (key, md5) = match headers {
        (None, None, None) => return Ok(None),
        (Some(AES256), Some(key), Some(md5)) => (key, md5),
        (Some(AES256), None, _) => return Err(incomplete(names.key)),
        (Some(AES256), _, None) => return Err(incomplete(names.md5)),
        (None, _, _) => return Err(incomplete(names.algorithm)),
        (Some(other), _, _) => {
            let why = "The encryption request you specified is not valid. The valid value is \
                       AES256.";
            return Err(S3Error::with(Code::InvalidEncryptionAlgorithmError, why)
                .extra("ArgumentName", names.algorithm)
                .extra("ArgumentValue", other));
        }
    };
    let bytes: Option<[u8; KEY_BYTES]> =
        STANDARD.decode(key).ok().and_then(|bytes| bytes.try_into().ok());
    let Some(bytes) = bytes else {
        // The value is a secret, also when it is wrong.
        let why = "The secret key was invalid for the specified algorithm.";
        return Err(S3Error::argument(names.key, "null", why));
    };
    if STANDARD.encode(Md5::digest(bytes)) != md5 {
        let why = "The calculated MD5 hash of the key did not match the hash that was provided.";
        return Err(S3Error::argument(names.md5, md5, why));
    }
    Ok(Some(SecretBytes(bytes)))
}

/// Says how the object is encrypted.
pub(super) fn with_sse(reply: Reply, req: &Req, sse: Option<&Sse>) -> Result<Reply, S3Error> {
    match sse {
        None => Ok(reply),
        Some(Sse::S3(_)) => reply.text(SSE, AES256),
        Some(Sse::Kms(name)) => reply.text(SSE, KMS)?.text(KMS_KEY_ID, name.as_str()),
        Some(Sse::Customer) => {
            let reply = reply.text(CUSTOMER.algorithm, AES256)?;
            // What was sent; it was compared with the key.
            match req.header(CUSTOMER.md5)? {
                Some(md5) => reply.text(CUSTOMER.md5, md5),
                None => Ok(reply),
            }
        }
    }
}

fn key_name(id: &str) -> Result<KeyName, S3Error> {
    let code = Code::KmsNotFoundException;
    KeyName::parse(id).ok_or_else(|| S3Error::with(code, "Invalid keyId").extra("KeyId", id))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ServerSideEncryptionConfiguration {
    #[serde(default)]
    rule: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Rule {
    apply_server_side_encryption_by_default: Option<ByDefault>,
    #[serde(default)]
    bucket_key_enabled: bool,
    #[serde(default)]
    blocked_encryption_types: Vec<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct ByDefault {
    #[serde(rename = "SSEAlgorithm")]
    algorithm: String,
    #[serde(rename = "KMSMasterKeyID")]
    kms_key_id: Option<String>,
}

async fn put_default(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let document: ServerSideEncryptionConfiguration =
        req.xml("ServerSideEncryptionConfiguration")?;
    let [rule] = &document.rule[..] else { return Err(S3Error::new(Code::MalformedXML)) };
    if !rule.blocked_encryption_types.is_empty() {
        let why = "BlockedEncryptionTypes is not implemented; a bucket policy can deny SSE-C.";
        return Err(S3Error::with(Code::NotImplemented, why));
    }
    let Some(default) = &rule.apply_server_side_encryption_by_default else {
        return Err(S3Error::new(Code::MalformedXML));
    };
    let kms = match (default.algorithm.as_str(), default.kms_key_id.as_deref()) {
        (AES256, None | Some("")) => None,
        (KMS, Some(id)) if !id.is_empty() => Some(key_name(id)?),
        (KMS, None | Some(_)) => {
            let why = "There is no key of the platform's own: name a key of the keyring.";
            return Err(S3Error::argument("KMSMasterKeyID", "", why));
        }
        (AES256, Some(id)) => {
            let why = "a KMSMasterKeyID is not applicable if the default sse algorithm is not \
                       aws:kms or aws:kms:dsse";
            return Err(S3Error::argument("KMSMasterKeyID", id, why));
        }
        (_, _) => return Err(S3Error::new(Code::MalformedXML)),
    };
    let default = BucketEncryption { kms, bucket_key: rule.bucket_key_enabled };
    ctx.engine().put_bucket_encryption(req.bucket()?, &default).await?;
    Ok(Reply::ok())
}

async fn get_default(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let default = ctx.engine().bucket_encryption(req.bucket()?).await?;
    let default = default.ok_or(Code::ServerSideEncryptionConfigurationNotFoundError)?;
    let mut out = Writer::new("ServerSideEncryptionConfiguration");
    out.open("Rule").open("ApplyServerSideEncryptionByDefault");
    out.text("SSEAlgorithm", if default.kms.is_some() { KMS } else { AES256 });
    out.text_some("KMSMasterKeyID", default.kms.as_ref().map(KeyName::as_str)).close();
    out.value("BucketKeyEnabled", default.bucket_key).close();
    Ok(Reply::xml(out))
}

async fn delete_default(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    ctx.engine().put_setting(req.bucket()?, SettingKind::Encryption, None).await?;
    Ok(Reply::no_content())
}
