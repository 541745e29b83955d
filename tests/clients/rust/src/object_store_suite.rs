//! The package object_store, by the suite that its own back ends pass.

use object_store::ObjectStoreExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum, S3ConditionalPut, S3CopyIfNotExists};
use object_store::integration as suite;

use crate::{aws_sdk, variable};

const BUCKET: &str = "object-store";

fn builder() -> AmazonS3Builder {
    AmazonS3Builder::new()
        .with_access_key_id(variable("AWS_ACCESS_KEY_ID"))
        .with_secret_access_key(variable("AWS_SECRET_ACCESS_KEY"))
        .with_endpoint(variable("AWS_ENDPOINT_URL_S3"))
        .with_region(variable("AWS_REGION"))
        .with_bucket_name(BUCKET)
        .with_allow_http(true)
        .with_copy_if_not_exists(S3CopyIfNotExists::Multipart)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
}

pub async fn run() {
    let client = aws_sdk::client();
    client.create_bucket().bucket(BUCKET).send().await.unwrap();
    whole(&builder().build().unwrap()).await;
    let unsigned = builder().with_unsigned_payload(true).build().unwrap();
    suite::put_get_delete_list(&unsigned).await;
    let summed = builder().with_checksum_algorithm(Checksum::SHA256).build().unwrap();
    suite::put_get_delete_list(&summed).await;
    suite::stream_get(&summed).await;
    let nowhere = builder().with_bucket_name("not-there").build().unwrap();
    let missing = nowhere.get(&"key".into()).await.unwrap_err();
    assert!(matches!(missing, object_store::Error::NotFound { .. }), "{missing}");
}

async fn whole(store: &AmazonS3) {
    suite::put_get_delete_list(store).await;
    suite::list_with_offset_exclusivity(store).await;
    suite::get_opts(store).await;
    suite::list_uses_directories_correctly(store).await;
    suite::list_with_delimiter(store).await;
    suite::rename_and_copy(store).await;
    suite::stream_get(store).await;
    suite::multipart(store, store).await;
    suite::multipart_with_opts(store, store).await;
    suite::multipart_put_part_out_of_order(store, store).await;
    suite::multipart_race_condition(store, true).await;
    suite::multipart_out_of_order(store).await;
    suite::put_get_attributes(store).await;
    suite::list_paginated(store, store).await;
    suite::copy_if_not_exists(store).await;
    suite::copy_rename_nonexistent_object(store).await;
    suite::put_opts(store, true).await;
}
