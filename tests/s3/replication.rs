//! Replication, as S3's document shows it.

use crate::common::server::Server;

#[tokio::test]
async fn a_bucket_of_several_regions_shows_its_copies_and_where_they_may_be() {
    let (server, _others) = Server::among(&["fra", "iad", "nrt"]).await;
    let client = &server.client;
    client.put("/bucket", "").await.expect(200);
    let shown = client.get("/bucket?replication").await.expect(200);
    assert_eq!(shown.one("ID"), "2 copies in fra,iad,nrt");
    assert_eq!(shown.one("Bucket"), "arn:aws:s3:::bucket");
    assert_eq!(shown.header("x-godwit-copies"), Some("2"));
    assert_eq!(shown.header("x-godwit-regions"), Some("fra,iad,nrt"));
    let two = client.call("PUT", "/two").header("x-godwit-regions", "iad,fra");
    two.send().await.expect(200);
    let shown = client.get("/two?replication").await.expect(200);
    assert_eq!(shown.one("ID"), "2 copies in fra,iad");
    let put = client.put("/bucket?replication", "<ReplicationConfiguration/>").await;
    assert_eq!(put.code(), (501, "NotImplemented"));
    let delete = client.delete("/bucket?replication").await;
    assert_eq!(delete.code(), (501, "NotImplemented"), "it would still be shown");
}

#[tokio::test]
async fn a_bucket_whose_bytes_lie_in_one_region_has_none() {
    let (server, _others) = Server::among(&["fra", "iad"]).await;
    let client = &server.client;
    let one = client.call("PUT", "/bucket").header("x-godwit-regions", "fra");
    one.send().await.expect(200);
    let none = client.get("/bucket?replication").await;
    assert_eq!(none.code(), (404, "ReplicationConfigurationNotFoundError"));
    client.delete("/bucket?replication").await.expect(204);
}
