//! The XML documents of S3 that the commands read and write.

use quick_xml::de::from_reader;
use quick_xml::escape::escape;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cli::error::{CliError, Exit};

/// `ListBucketResult`, with keys percent-encoded.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct ListResult {
    pub(super) contents: Vec<Contents>,
    pub(super) common_prefixes: Vec<CommonPrefix>,
    pub(super) next_continuation_token: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Contents {
    #[serde(rename = "Key")]
    pub(super) key: String,
    #[serde(rename = "LastModified")]
    pub(super) last_modified: String,
    #[serde(rename = "ETag")]
    pub(super) etag: String,
    #[serde(rename = "Size")]
    pub(super) size: u64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct CommonPrefix {
    pub(super) prefix: String,
}

/// `ListVersionsResult`, with keys percent-encoded.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct VersionsResult {
    pub(super) version: Vec<Version>,
    pub(super) delete_marker: Vec<Version>,
}

/// `ListMultipartUploadsResult`, with keys percent-encoded.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct UploadsResult {
    pub(super) upload: Vec<OpenUpload>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct OpenUpload {
    pub(super) key: String,
    pub(super) upload_id: String,
    pub(super) initiated: String,
}

/// `ListPartsResult`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct PartsResult {
    pub(super) part: Vec<ListedPart>,
    pub(super) is_truncated: bool,
    pub(super) next_part_number_marker: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ListedPart {
    #[serde(rename = "PartNumber")]
    pub(super) number: usize,
    #[serde(rename = "ETag")]
    pub(super) etag: String,
    #[serde(rename = "Size")]
    pub(super) size: u64,
}

/// `CopyPartResult`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct CopiedPart {
    #[serde(rename = "ETag")]
    pub(super) etag: String,
}

/// `Tagging`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct TaggingResult {
    pub(super) tag_set: TagSet,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct TagSet {
    pub(super) tag: Vec<Tag>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Tag {
    pub(super) key: String,
    pub(super) value: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Version {
    pub(super) key: String,
    pub(super) version_id: String,
}

/// `ListAllMyBucketsResult`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct BucketsResult {
    pub(super) buckets: Buckets,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Buckets {
    pub(super) bucket: Vec<BucketEntry>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct BucketEntry {
    pub(super) name: String,
    pub(super) creation_date: String,
}

/// `InitiateMultipartUploadResult`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct UploadResult {
    pub(super) upload_id: String,
}

/// `DeleteResult`: what was not deleted.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct DeleteResult {
    pub(super) error: Vec<DeleteError>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct DeleteError {
    pub(super) key: String,
    pub(super) code: String,
    pub(super) message: String,
}

/// `Error`, which some requests answer with 200.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct ErrorResult {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) request_id: String,
}

/// Reads a document.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, CliError> {
    from_reader(body).map_err(|error| {
        let message = format!("the answer is not S3's: {error}");
        CliError::new(Exit::Failure, "BadAnswer", message)
    })
}

/// The error that a body is.
pub(super) fn error_in(body: &[u8]) -> Option<ErrorResult> {
    from_reader::<_, ErrorResult>(body).ok().filter(|error| !error.code.is_empty())
}

/// A version that is to be deleted; without an id, the key.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Named {
    pub(in crate::cli) key: String,
    pub(in crate::cli) version: Option<String>,
}

/// The body of `DeleteObjects`.
pub(super) fn delete(all: &[Named]) -> String {
    let object = |named: &Named| {
        let id = named.version.as_ref();
        let id = id.map(|id| format!("<VersionId>{}</VersionId>", escape(id))).unwrap_or_default();
        format!("<Object><Key>{}</Key>{id}</Object>", escape(&named.key))
    };
    let objects: String = all.iter().map(object).collect();
    format!("<Delete><Quiet>true</Quiet>{objects}</Delete>")
}

/// The body of `CompleteMultipartUpload`; parts in their order.
pub(super) fn complete(etags: &[String]) -> String {
    let parts = etags.iter().zip(1..).map(|(etag, number)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>", escape(etag))
    });
    format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_errors_are_read_and_keys_are_escaped() {
        let list: ListResult = read(
            b"<ListBucketResult><Contents><Key>a%26b</Key><Size>3</Size><ETag>\"x\"</ETag>\
              <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>\
              <CommonPrefixes><Prefix>c/</Prefix></CommonPrefixes></ListBucketResult>",
        )
        .unwrap();
        assert_eq!((list.contents[0].key.as_str(), list.contents[0].size), ("a%26b", 3));
        assert_eq!(list.common_prefixes[0].prefix, "c/");
        let error = error_in(b"<Error><Code>NoSuchKey</Code><Message>m</Message></Error>");
        assert_eq!(error.unwrap().code, "NoSuchKey");
        assert!(error_in(b"<CopyObjectResult><ETag>x</ETag></CopyObjectResult>").is_none());
        assert!(
            delete(&[Named { key: "<&>".to_owned(), version: None }])
                .contains("<Key>&lt;&amp;&gt;</Key>")
        );
    }
}
