//! Encrypted objects in several regions.

use godwit::engine::body::WholeBody;
use godwit::engine::{Attributes, Error, GetObject, PutObject};
use godwit::logic::keyring::Keyring;
use godwit::types::encryption::{SecretBytes, SseAsked};

use crate::common::node::{Node, eventually};
use crate::user::*;

const CODES: [&str; 3] = ["fra", "iad", "nrt"];

async fn three() -> Vec<Node> {
    let nodes = Node::cluster(&CODES).await;
    make_bucket(&nodes[0].engine).await;
    nodes
}

fn encrypted(encryption: SseAsked) -> Attributes {
    Attributes { encryption, ..Attributes::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_region_encrypts_every_region_with_the_key_reads() {
    let nodes = three().await;
    let customer = SecretBytes([7; 32]);
    // One rides with its row, one is fetched.
    for len in [100, 2_500_000] {
        let body = vec![5_u8; len];
        for (name, asked) in [("s3", SseAsked::S3), ("c", SseAsked::Customer(customer.clone()))] {
            let put = PutObject { attributes: encrypted(asked), ..put_of(name) };
            let mut source = WholeBody::new(body.clone().into());
            nodes[0].engine.put_object(put, &mut source).await.unwrap();
        }
        for node in &nodes {
            let mine = GetObject { customer_key: Some(customer.clone()), ..get_of("c") };
            eventually(&node.env, "both are read", || async {
                let (s3, c) = (get(&node.engine, "s3").await, get_with(&node.engine, &mine).await);
                (s3, c) == (Ok(body.clone()), Ok(body.clone()))
            })
            .await;
            let without = get(&node.engine, "c").await;
            assert!(matches!(without, Err(Error::InvalidRequest(_))), "{without:?}");
        }
    }
    let strange = nodes[1].engine.clone().with_keyring(Keyring::default());
    let refused = get(&strange, "s3").await;
    assert!(matches!(refused, Err(Error::Internal(why)) if why.contains("`first`")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_upload_takes_parts_and_its_end_in_any_region() {
    let nodes = three().await;
    let (fra, iad, nrt) = (&nodes[0].engine, &nodes[1].engine, &nodes[2].engine);
    let upload = begin_with(fra, "k", encrypted(SseAsked::S3)).await;
    let one = part(iad, "k", upload, 1, vec![1_u8; 5 << 20]).await.unwrap();
    let two = part(nrt, "k", upload, 2, "end").await.unwrap();
    let made = complete(iad, "k", upload, &[(1, &one), (2, &two)]).await.unwrap();
    assert!(made.sse.is_some());
    let whole = [vec![1_u8; 5 << 20], b"end".to_vec()].concat();
    for node in &nodes {
        eventually(&node.env, "the object is there", || async {
            get(&node.engine, "k").await.is_ok_and(|body| body == whole)
        })
        .await;
    }
}
