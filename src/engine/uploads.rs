//! Lists of multipart uploads and of their parts, and the clean-up after them.
//!
//! Invariant: only open uploads and parts that are not ended are shown.

use crate::limits;
use crate::types::id::UploadId;
use crate::types::name::{AccountId, BucketName, ObjectKey};
use crate::types::object::{Checksum, ChecksumAlgorithm, ChecksumKind, StoredHeaders};
use crate::types::record::{PartRecord, UploadRecord};

use super::{Engine, Error};

/// One page of a bucket's open uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListUploads {
    pub prefix: String,
    pub delimiter: Option<String>,
    /// Only keys after this one; with `upload_after` also later uploads of this key.
    pub key_after: Option<String>,
    pub upload_after: Option<UploadId>,
    pub max: usize,
}

/// An open upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadInfo {
    pub key: ObjectKey,
    pub upload: UploadId,
    pub owner: AccountId,
    pub headers: StoredHeaders,
    pub started_ms: u64,
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

/// Uploads in the order of their keys, then of their beginnings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadsPage {
    pub uploads: Vec<UploadInfo>,
    pub common_prefixes: Vec<String>,
    /// Key and upload that the next page goes on after; `None` on the last.
    pub next: Option<(String, Option<UploadId>)>,
}

/// One page of an upload's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListParts {
    pub bucket: BucketName,
    pub key: ObjectKey,
    pub upload: UploadId,
    /// Only numbers after this one.
    pub after: u16,
    pub max: usize,
}

/// A part that was uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartInfo {
    pub number: u16,
    pub md5: [u8; 16],
    pub size: u64,
    pub modified_ms: u64,
    pub checksum: Option<Checksum>,
}

/// Parts in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartsPage {
    pub upload: UploadInfo,
    pub parts: Vec<PartInfo>,
    pub truncated: bool,
}

impl Engine {
    pub async fn list_uploads(
        &self,
        bucket: &BucketName,
        list: ListUploads,
    ) -> Result<UploadsPage, Error> {
        let config = self.bucket(bucket).await?;
        let mut open = self.local_uploads(config.id).await?;
        open.sort_by(|a, b| (&a.key, a.upload).cmp(&(&b.key, b.upload)));
        Ok(page(open, &list))
    }

    pub async fn list_parts(&self, list: ListParts) -> Result<PartsPage, Error> {
        let place = self.place(&list.bucket).await?;
        let record = self.open_upload(&place, &list.key, list.upload).await?;
        let max = list.max.min(limits::LIST_KEYS_MAX);
        let mut parts: Vec<PartInfo> = self
            .local_parts(list.upload)
            .await?
            .into_iter()
            .filter(|part| !part.ended && part.part.number > list.after)
            .map(|part| part_info(&part))
            .collect();
        let truncated = parts.len() > max;
        parts.truncate(max);
        Ok(PartsPage { upload: upload_info(list.upload, &record), parts, truncated })
    }

    pub(super) async fn part_numbers(&self, upload: UploadId) -> Result<Vec<u16>, Error> {
        let parts = self.local_parts(upload).await?;
        let mut numbers: Vec<u16> = parts.iter().map(|part| part.part.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }
}

pub(super) fn upload_info(upload: UploadId, record: &UploadRecord) -> UploadInfo {
    UploadInfo {
        key: record.key.clone(),
        upload,
        owner: record.owner.clone(),
        headers: record.headers.clone(),
        started_ms: record.started_ms,
        checksum: record.checksum,
    }
}

fn part_info(part: &PartRecord) -> PartInfo {
    PartInfo {
        number: part.part.number,
        md5: part.md5,
        size: part.part.blob.len,
        modified_ms: part.modified_ms,
        checksum: part.checksum.clone(),
    }
}

/// Cuts a page out of the sorted open uploads.
fn page(open: Vec<UploadInfo>, list: &ListUploads) -> UploadsPage {
    let mut page = UploadsPage::default();
    let max = list.max.min(limits::LIST_KEYS_MAX);
    let mut last = None;
    for upload in open {
        let key = upload.key.as_str();
        let Some(rest) = key.strip_prefix(&list.prefix) else { continue };
        let common = list
            .delimiter
            .as_deref()
            .filter(|d| !d.is_empty())
            .and_then(|d| Some(&key[..list.prefix.len() + rest.find(d)? + d.len()]));
        if is_before(list, key, common, upload.upload)
            || common.is_some_and(|c| page.common_prefixes.last().is_some_and(|l| l == c))
        {
            continue;
        }
        if page.uploads.len() + page.common_prefixes.len() >= max {
            page.next = last;
            break;
        }
        if let Some(common) = common {
            last = Some((common.to_owned(), None));
            page.common_prefixes.push(common.to_owned());
        } else {
            last = Some((key.to_owned(), Some(upload.upload)));
            page.uploads.push(upload);
        }
    }
    page
}

/// Whether an earlier page had it.
fn is_before(list: &ListUploads, key: &str, common: Option<&str>, upload: UploadId) -> bool {
    let Some(after) = list.key_after.as_deref() else { return false };
    if key < after || common == Some(after) {
        return true;
    }
    key == after && list.upload_after.is_none_or(|marker| upload <= marker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::stamp::{Hlc, Stamp};

    fn upload(key: &str, at: u64) -> UploadInfo {
        UploadInfo {
            key: ObjectKey::parse(key).unwrap(),
            upload: UploadId(Stamp { hlc: Hlc(at), ..Stamp::ZERO }),
            owner: AccountId("a".into()),
            headers: StoredHeaders::default(),
            started_ms: at,
            checksum: None,
        }
    }

    fn sorted() -> Vec<UploadInfo> {
        vec![upload("a", 1), upload("a", 5), upload("d/x", 2), upload("d/y", 3), upload("e", 4)]
    }

    #[test]
    fn pages_put_together_are_every_upload_once() {
        for max in 1..6 {
            let mut list = ListUploads { max, ..ListUploads::default() };
            let mut seen = Vec::new();
            loop {
                let page = page(sorted(), &list);
                assert!(page.uploads.len() <= max);
                seen.extend(page.uploads);
                let Some((key, upload)) = page.next else { break };
                (list.key_after, list.upload_after) = (Some(key), upload);
            }
            assert_eq!(seen, sorted());
        }
    }

    #[test]
    fn a_delimiter_folds_keys_and_a_key_marker_alone_skips_its_uploads() {
        let delimiter = Some("/".to_owned());
        let list = ListUploads { delimiter, max: 2, ..ListUploads::default() };
        let first = page(sorted(), &list);
        assert_eq!(first.uploads.len(), 2);
        let key_after = first.next.map(|(key, _)| key);
        assert_eq!(key_after.as_deref(), Some("a"));
        let second = page(sorted(), &ListUploads { key_after, ..list });
        assert_eq!(second.common_prefixes, ["d/"]);
        assert_eq!(second.uploads, [upload("e", 4)]);
        assert_eq!(second.next, None);
    }
}
