//! Signatures in the fields of a form: of the policy as it stands there, by version 4 or 2.
//! Source: "Authenticating Requests in Browser-Based Uploads Using POST", S3 API reference.

use aws_lc_rs::hmac;
use aws_sigv4::sign::v4::calculate_signature;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use crate::s3::error::{Code, S3Error};
use crate::s3::form::Fields;
use crate::types::name::{AccessKeyId, SecretKey};

use super::date::SignedAt;
use super::v4::{self, Scope, SigningKeys};
use super::{AuthOptions, Look};

/// A form's signature, taken apart.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(super) access_key: AccessKeyId,
    /// In base64, as it was signed.
    policy: String,
    signature: String,
    /// `None`: version 2.
    v4: Option<(Scope, SignedAt)>,
}

impl Claim {
    /// `None` where the form is not signed. What says something of a signature makes it a signed
    /// one, so that a form with half of them is not taken for an anonymous one.
    pub(super) fn parse(
        look: &Look<'_>,
        fields: &Fields,
        options: &AuthOptions,
    ) -> Result<Option<Self>, S3Error> {
        let elsewhere = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "Signature"];
        if look.headers.contains_key(http::header::AUTHORIZATION)
            || elsewhere.iter().any(|name| look.query.has(name))
        {
            let why = "The credentials of a form stand in its fields.";
            return Err(
                S3Error::with(Code::InvalidArgument, why).extra("ArgumentName", "Authorization")
            );
        }
        let has = |names: &[&str]| names.iter().any(|name| fields.get(name).is_some());
        if has(&["x-amz-security-token"]) {
            return Err(super::no_session_tokens());
        }
        if has(&["x-amz-algorithm", "x-amz-credential", "x-amz-signature"]) {
            return Self::v4(fields, options).map(Some);
        }
        if has(&["awsaccesskeyid", "signature", "policy"]) {
            super::allow_v2(options)?;
            let access_key = fields.need("AWSAccessKeyId")?;
            let access_key = AccessKeyId::parse(access_key).ok_or_else(|| {
                S3Error::new(Code::InvalidAccessKeyId).extra("AWSAccessKeyId", access_key)
            })?;
            let signature = fields.need("Signature")?.to_owned();
            let policy = policy(fields)?;
            return Ok(Some(Self { access_key, policy, signature, v4: None }));
        }
        Ok(None)
    }

    fn v4(fields: &Fields, options: &AuthOptions) -> Result<Self, S3Error> {
        let algorithm = fields.need("X-Amz-Algorithm")?;
        if algorithm != v4::ALGORITHM {
            let why = "X-Amz-Algorithm only supports AWS4-HMAC-SHA256";
            return Err(S3Error::argument("X-Amz-Algorithm", algorithm, why));
        }
        let credential = fields.need("X-Amz-Credential")?;
        let bad = |what: &str| S3Error::argument("X-Amz-Credential", credential, what.to_owned());
        let date = fields.need("X-Amz-Date")?;
        let at = SignedAt::parse_basic(date).ok_or_else(|| {
            let why = "X-Amz-Date must be in the form 20130524T000000Z";
            S3Error::argument("X-Amz-Date", date, why)
        })?;
        let (access_key, scope) = v4::credential_of(credential, options, &bad)?;
        v4::check_day(&scope, at, &bad)?;
        let signature = fields.need("X-Amz-Signature")?.to_owned();
        let policy = policy(fields)?;
        Ok(Self { access_key, policy, signature, v4: Some((scope, at)) })
    }

    /// Computes the signature again and compares.
    pub(super) fn verify(self, secret: &SecretKey, keys: &SigningKeys) -> Result<(), S3Error> {
        let policy = self.policy.as_bytes();
        let right = match &self.v4 {
            Some((scope, at)) => {
                let key = keys.key(&self.access_key, scope, *at, secret);
                let expected = calculate_signature(key, policy);
                expected.as_bytes().ct_eq(self.signature.as_bytes())
            }
            None => {
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.0.as_bytes());
                let expected = hmac::sign(&key, policy);
                // What is no base64 equals no signature.
                expected.as_ref().ct_eq(&STANDARD.decode(&self.signature).unwrap_or_default())
            }
        };
        if bool::from(right) {
            return Ok(());
        }
        Err(S3Error::new(Code::SignatureDoesNotMatch)
            .extra("AWSAccessKeyId", self.access_key.to_string())
            .extra("StringToSign", self.policy)
            .extra("SignatureProvided", self.signature))
    }
}

/// A signed form has a policy, or its holder could do with it whatever the signer may.
fn policy(fields: &Fields) -> Result<String, S3Error> {
    let policy = fields.need("policy")?;
    if policy.is_empty() {
        return Err(S3Error::with(Code::InvalidPolicyDocument, "Invalid Policy: it is empty."));
    }
    Ok(policy.to_owned())
}

/// A policy's document. Some tools break base64 into lines.
pub(crate) fn decoded_policy(text: &str) -> Result<Vec<u8>, S3Error> {
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(text).map_err(|_| {
        S3Error::with(Code::InvalidPolicyDocument, "Invalid Policy: Invalid 'base64' encoding.")
    })
}
