//! opendal's operator. It takes doubled slashes out of a key by itself, and its HTTP client dots.

use futures_util::TryStreamExt as _;
use opendal::services::S3;
use opendal::{ErrorKind, Operator};

use crate::{KEYS, aws_sdk, variable};

const BUCKET: &str = "opendal";

pub async fn run() {
    aws_sdk::client().create_bucket().bucket(BUCKET).send().await.unwrap();
    let service = S3::default()
        .bucket(BUCKET)
        .endpoint(&variable("AWS_ENDPOINT_URL_S3"))
        .region(&variable("AWS_REGION"))
        .access_key_id(&variable("AWS_ACCESS_KEY_ID"))
        .secret_access_key(&variable("AWS_SECRET_ACCESS_KEY"));
    let operator = Operator::new(service).unwrap();
    operator.check().await.unwrap();
    let keys = KEYS
        .iter()
        .filter(|key| !key.ends_with('/') && !key.contains('\u{1}') && !key.contains("./"));
    let keys: Vec<String> = keys.map(|key| format!("k{key}")).collect();
    for key in &keys {
        operator.write(key, key.clone().into_bytes()).await.unwrap();
        assert_eq!(operator.read(key).await.unwrap().to_vec(), key.as_bytes());
        assert_eq!(operator.read_with(key).range(0..1).await.unwrap().to_vec(), b"k");
        operator.copy(key, &format!("copy/{key}")).await.unwrap();
    }
    let found: Vec<_> =
        operator.lister_with("").recursive(true).await.unwrap().try_collect().await.unwrap();
    assert_eq!(
        found.iter().filter(|entry| entry.metadata().is_file()).count(),
        keys.len() * 2,
        "{found:?}"
    );
    let body = vec![7; 17 << 20];
    let mut writer = operator.writer_with("large").chunk(5 << 20).concurrent(4).await.unwrap();
    for piece in body.chunks(3 << 20) {
        writer.write(piece.to_vec()).await.unwrap();
    }
    writer.close().await.unwrap();
    assert!(operator.read("large").await.unwrap().to_vec() == body);
    let kept = operator.write_with("large", "other").if_not_exists(true).await.unwrap_err();
    assert_eq!(kept.kind(), ErrorKind::ConditionNotMatch);
    let url = operator.presign_read("large", std::time::Duration::from_secs(60)).await.unwrap();
    assert!(url.uri().to_string().contains("X-Amz-Signature"));
    assert_eq!(operator.stat("missing").await.unwrap_err().kind(), ErrorKind::NotFound);
    operator.delete_with("").recursive(true).await.unwrap();
    assert!(
        operator
            .list_with("")
            .recursive(true)
            .await
            .unwrap()
            .iter()
            .all(|entry| entry.path() == "/")
    );
}
