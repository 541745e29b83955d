//! What only one region may decide or do, asked of that region: the end of a multipart upload, the
//! move of a primary, that its cached copies go.
//!
//! Invariant: the region that was asked has the last word; what it says is also in this region's
//! records before the answer is given, so that a client reads what it wrote.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, Unavailable};
use crate::env::BoxFuture;
use crate::limits;
use crate::types::event::By;
use crate::types::id::UploadId;
use crate::types::name::{BucketName, ObjectKey};
use crate::types::record::RecordId;
use crate::types::region::RegionId;

use super::place::Placed;
use super::{CompleteUpload, Engine, Error, Options, Place, Stored};

/// A question of another region.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Question {
    /// With who asks, for those who are told of it.
    Complete(CompleteUpload, Option<Arc<By>>),
    Abort {
        bucket: BucketName,
        key: ObjectKey,
        upload: UploadId,
    },
    /// A completion that has its place in the one order of all regions.
    CompleteInOrder(CompleteUpload, Option<Arc<By>>),
    /// The primary, which is there, shall be elsewhere.
    Place {
        bucket: BucketName,
        key: ObjectKey,
        to: RegionId,
    },
    /// Cached copies shall go: of the keys that begin so and come after `after`.
    Uncache {
        bucket: BucketName,
        prefix: String,
        after: Option<ObjectKey>,
    },
}

/// Its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Aborted,
    Completed(Stored),
    Refused(Error),
    /// Else it is there already.
    Placed {
        begun: bool,
    },
    Uncached {
        copies: u64,
        bytes: u64,
        next: Option<ObjectKey>,
    },
}

impl Answer {
    /// It is none to what was asked.
    pub(super) fn odd(&self) -> Error {
        Error::Internal(format!("a region answered something else: {self:?}"))
    }
}

impl Engine {
    pub(super) async fn complete_elsewhere(
        &self,
        place: &Place,
        complete: CompleteUpload,
    ) -> Result<Stored, Error> {
        let (upload, row) = (complete.upload, place.row_id(&complete.key));
        let by = self.because.by.clone();
        let question = match self.linearizable {
            true => Question::CompleteInOrder(complete, by),
            false => Question::Complete(complete, by),
        };
        match self.ask(upload, question).await? {
            Answer::Completed(stored) => {
                self.learn(upload, vec![row, RecordId::Upload(upload)]).await;
                Ok(stored)
            }
            Answer::Refused(why) => Err(why),
            other => Err(other.odd()),
        }
    }

    pub(super) async fn abort_elsewhere(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<(), Error> {
        let question = Question::Abort { bucket: bucket.clone(), key: key.clone(), upload };
        match self.ask(upload, question).await? {
            Answer::Aborted => {
                self.learn(upload, vec![RecordId::Upload(upload)]).await;
                Ok(())
            }
            Answer::Refused(why) => Err(why),
            other => Err(other.odd()),
        }
    }

    async fn ask(&self, upload: UploadId, question: Question) -> Result<Answer, Error> {
        let starter = self.cluster.decider(upload);
        let answer = self.ask_region(starter, question).await;
        answer.map_err(|why| match why {
            Error::Unavailable { reason, retry_after } => {
                let reason = format!("this upload is ended by region {starter} alone: {reason}");
                Error::Unavailable { reason, retry_after }
            }
            other => other,
        })
    }

    pub(super) async fn ask_region(
        &self,
        region: RegionId,
        question: Question,
    ) -> Result<Answer, Error> {
        let bytes = encode(&question);
        let answer = self.cluster.forward(region, bytes, limits::FORWARD_TIMEOUT).await?;
        postcard::from_bytes(&answer)
            .map_err(|why| Error::Internal(format!("an answer does not decode: {why}")))
    }

    /// What was decided elsewhere, for the next reader here. The log brings it anyway.
    async fn learn(&self, upload: UploadId, ids: Vec<RecordId>) {
        if let Err(why) = self.cluster.learn_from(self.cluster.decider(upload), ids).await {
            tracing::warn!(%why, %upload, "the end of an upload is not known here yet");
        }
    }
}

/// Answers a question of another region.
pub(super) fn answer(
    cluster: Cluster,
    question: Bytes,
) -> BoxFuture<'static, Result<Bytes, String>> {
    Box::pin(async move {
        let question = postcard::from_bytes(&question).map_err(|why| why.to_string())?;
        // What is decided here depends on no option of new buckets, and decrypts nothing.
        let engine = Engine::plain(cluster, Options::default());
        let answer = match question {
            Question::Complete(complete, by) => {
                engine.by(by).end_upload(complete).await.map(Answer::Completed)
            }
            Question::CompleteInOrder(complete, by) => {
                let engine = engine.by(by).linearizable();
                engine.end_upload(complete).await.map(Answer::Completed)
            }
            Question::Abort { bucket, key, upload } => {
                engine.abort_upload(&bucket, &key, upload).await.map(|()| Answer::Aborted)
            }
            Question::Place { bucket, key, to } => {
                engine.place_here(&bucket, &key, to).await.and_then(|placed| match placed {
                    Ok(placed) => Ok(Answer::Placed { begun: placed == Placed::Begun }),
                    Err(at) => {
                        let why = format!("its primary is at {at} now; ask again");
                        Err(Unavailable::new(why).into())
                    }
                })
            }
            Question::Uncache { bucket, prefix, after } => {
                let page = engine.drop_cached_here(&bucket, &prefix, after.as_ref()).await;
                page.map(|(gone, next)| Answer::Uncached {
                    copies: gone.copies,
                    bytes: gone.bytes,
                    next,
                })
            }
        };
        Ok(encode(&answer.unwrap_or_else(Answer::Refused)))
    })
}

fn encode(message: &impl Serialize) -> Bytes {
    let bytes = postcard::to_stdvec(message);
    bytes.expect("messages have no type that postcard refuses").into()
}
