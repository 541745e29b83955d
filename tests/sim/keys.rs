//! A key that was revoked, as clients of a region meet it that is cut off meanwhile: with the rule that
//! such a region takes no keys (`s3.keys_heard_within`), and without it.

use godwit::engine;
use godwit::limits::KEYS_HEARD_MAX;
use godwit::types::name::AccessKeyId;
use godwit::types::record::KeyScope;

use super::faults::{at, story, until};
use super::*;

/// Whether a region takes a key; false also where it refuses all of them.
async fn takes(engine: &Engine, key: &AccessKeyId) -> bool {
    matches!(engine.access_key(key).await, Ok(Some(_)))
}

#[test]
fn a_revoked_key_ends_in_a_region_that_is_cut_off_only_where_that_takes_no_keys() {
    story(|world| async move {
        let (here, cut_off) = (world.engine(at("fra")), at("nrt"));
        let strict = Some(KEYS_HEARD_MAX);
        let options = engine::Options { keys_heard_within: strict, ..engine::Options::default() };
        let with = Engine::new(world.cluster(cut_off), options);
        let without = world.engine(cut_off);
        let key = here.create_access_key(None, KeyScope::Admin).await.unwrap().id;
        for engine in [&with, &without] {
            until("the key works", async || takes(engine, &key).await).await;
        }
        for other in world.regions().into_iter().filter(|other| *other != cut_off) {
            world.net.cut(cut_off, other);
            world.net.cut(other, cut_off);
        }
        let revoked = here.revoke_access_key(&key).await;
        assert!(revoked.is_ok(), "{revoked:?}");
        sleep(KEYS_HEARD_MAX).await;
        let refused = with.access_key(&key).await;
        assert!(
            matches!(&refused, Err(Error::Unavailable { reason, .. }) if reason.contains("touch")),
            "{refused:?}"
        );
        assert!(!takes(&here, &key).await);
        assert!(takes(&without, &key).await, "without the rule nothing is amiss");
        sleep(Duration::from_secs(60)).await;
        assert!(takes(&without, &key).await && !takes(&with, &key).await);

        world.net.heal();
        let reached = Instant::now() + KEYS_HEARD_MAX;
        until("it is heard of", async || matches!(with.access_key(&key).await, Ok(None))).await;
        assert!(Instant::now() <= reached && !takes(&without, &key).await);
    });
}
