//! Where certificates are made: on nodes that have the cluster's authority.
//!
//! Invariant: a certificate is of the region that its asker proved to be, by the certificate that it
//! has, or by a token of that region. A token is taken until it runs out, by one key: who asks again
//! with that key (an answer got lost) gets the same again, anybody else does not. Which were used is
//! on the disk before the answer; each node with the authority knows of its own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::cluster::Members;
use crate::env::{BoxFuture, Env};
use crate::limits;
use crate::net::certify::{Certifier, Wish};
use crate::types::region::RegionId;

use super::files;
use super::identity::{self, Charter};
use super::join_token::{Question, Welcome};

const USED_FILE: &str = "joined.json";

/// The members as they are now.
pub(super) type MembersNow = Arc<dyn Fn() -> Members + Send + Sync>;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Office(Arc<Inner>);

struct Inner {
    env: Env,
    home: PathBuf,
    charter: Charter,
    life: Duration,
    members: MembersNow,
    /// One look at the used tokens at a time.
    used: Mutex<()>,
}

/// A token that was used, until it would have run out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Used {
    token: String,
    key: String,
    expires_ms: u64,
}

impl Office {
    pub(super) fn new(
        env: &Env,
        home: PathBuf,
        charter: Charter,
        life: Duration,
        members: MembersNow,
    ) -> Self {
        let used = Mutex::default();
        Self(Arc::new(Inner { env: env.clone(), home, charter, life, members, used }))
    }
}

impl Certifier for Office {
    fn renew(&self, region: RegionId, wish: &Wish) -> Result<String, String> {
        if wish.region != region {
            return Err(format!("the node of {region} asks for a certificate of {}", wish.region));
        }
        self.0.certify(wish)
    }

    fn join(&self, question: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let inner = self.0.clone();
        let env = inner.env.clone();
        Box::pin(async move { env.blocking(move || inner.join(&question)).await })
    }
}

impl Inner {
    fn certify(&self, wish: &Wish) -> Result<String, String> {
        let (region, validity) = (wish.region, identity::validity(&self.env, self.life));
        let made = self.charter.certify(wish, validity);
        match &made {
            Ok(_) => info!(%region, "made a certificate"),
            Err(error) => warn!(%region, %error, "a request for a certificate was refused"),
        }
        made.map_err(|error| error.to_string())
    }

    fn join(&self, question: &[u8]) -> Result<Bytes, String> {
        let question = Question::from_bytes(question)?;
        let region = question.wish.region;
        let answer = self.admit(&question);
        if let Err(why) = &answer {
            warn!(%region, why, "a node that wanted to join was turned away");
        }
        answer
    }

    fn admit(&self, question: &Question) -> Result<Bytes, String> {
        let (wish, now_ms) = (&question.wish, self.env.now_ms());
        let region = wish.region;
        let again = format!("make another one: godwit cluster token {region}");
        let secret = self.charter.join_secret(region, question.expires_ms, &question.id);
        if !question.is_sealed_with(&secret) {
            return Err(format!("the token is not of this cluster, or was changed; {again}"));
        }
        if now_ms >= question.expires_ms {
            return Err(format!("the token has run out; {again}"));
        }
        let members = (self.members)();
        if !members.contains(region) {
            return Err(format!(
                "{region} is no member; list it first: godwit region add {region}"
            ));
        }
        // The key has to be proven before the token is used up by it.
        let certificate_pem = self.certify(wish)?;
        let used = Used {
            token: hex::encode(question.id),
            key: hex::encode(wish.key_bytes()),
            expires_ms: question.expires_ms,
        };
        if !self.use_up(used, now_ms)? {
            return Err(format!("the token was used already; {again}"));
        }
        info!(%region, "a node joined by a token");
        let operator = self.charter.first_key().record.account.clone();
        Ok(Welcome::new(certificate_pem, members, operator).to_bytes())
    }

    /// False: somebody else used it.
    fn use_up(&self, used: Used, now_ms: u64) -> Result<bool, String> {
        let _one = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = files::load(&self.env, &self.home, USED_FILE);
        let loaded: Option<Vec<Used>> = loaded.map_err(|error| error.to_string())?;
        let mut all = loaded.unwrap_or_default();
        all.retain(|one| one.expires_ms > now_ms);
        if let Some(before) = all.iter().find(|one| one.token == used.token) {
            return Ok(before.key == used.key);
        }
        if all.len() >= limits::JOIN_TOKENS_USED_MAX {
            return Err(format!("{} tokens were used of late; try again later", all.len()));
        }
        all.push(used);
        files::save(&self.env, &self.home, USED_FILE, &all).map_err(|error| error.to_string())?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::certify::Candidate;
    use crate::node::env::real;
    use crate::node::join_token::JoinToken;
    use crate::types::region::RegionInfo;

    struct World {
        env: Env,
        charter: Charter,
        office: Office,
        _home: tempfile::TempDir,
    }

    fn region(code: &str) -> RegionId {
        code.parse().unwrap()
    }

    fn world() -> World {
        let home = tempfile::tempdir().unwrap();
        let env = real(&tokio::runtime::Handle::current(), home.path());
        let known = crate::config::Regions::built_in();
        let infos: Vec<RegionInfo> =
            ["iad", "fra"].iter().map(|code| known.find(region(code)).unwrap().info()).collect();
        let charter = Charter::new(&env, infos).unwrap();
        let members = charter.members().clone();
        let office = Office::new(
            &env,
            home.path().to_owned(),
            charter.clone(),
            limits::CERTIFICATE_LIFE,
            Arc::new(move || members.clone()),
        );
        World { env, charter, office, _home: home }
    }

    impl World {
        fn token(&self, life: Duration) -> JoinToken {
            self.charter.join_token(&self.env, region("fra"), life, self.charter.members())
        }

        fn wish(&self, code: &str) -> Wish {
            Candidate::new(self.charter.members().cluster(), region(code)).unwrap().1
        }

        async fn join(&self, question: &Question) -> Result<Welcome, String> {
            let answer = self.office.join(question.to_bytes()).await?;
            Ok(Welcome::from_bytes(&answer).unwrap())
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_token_is_good_for_one_key_and_for_its_question_again() {
        let world = world();
        let token = world.token(HOUR);
        let question = token.question(world.wish("fra"));
        let welcome = world.join(&question).await.unwrap();
        let operator = &world.charter.first_key().record.account;
        assert_eq!(&welcome.operator, operator);
        let text = String::from_utf8(welcome.to_bytes().into()).unwrap();
        let secret = &world.charter.first_key().record.secret;
        assert!(!text.contains(&*secret.0), "the first key stays where it is");
        assert!(world.join(&question).await.is_ok(), "an answer may get lost");
        let other = token.question(world.wish("fra"));
        let refused = world.join(&other).await.err().unwrap();
        assert!(refused.contains("used already") && refused.contains("godwit cluster token fra"));
        let fresh = world.token(HOUR).question(world.wish("fra"));
        assert!(world.join(&fresh).await.is_ok(), "every token stands for itself");
    }

    #[tokio::test]
    async fn tokens_that_ran_out_or_were_changed_or_are_of_another_region_are_refused() {
        let world = world();
        let over = world.token(Duration::ZERO).question(world.wish("fra"));
        let refused = world.join(&over).await.err().unwrap();
        assert!(refused.contains("has run out") && refused.contains("godwit cluster token fra"));
        let mut longer = world.token(HOUR);
        longer.expires_ms += 1;
        let refused = world.join(&longer.question(world.wish("fra"))).await.err().unwrap();
        assert!(refused.contains("changed"), "{refused}");
        let elsewhere = world.token(HOUR).question(world.wish("iad"));
        let refused = world.join(&elsewhere).await.err().unwrap();
        assert!(refused.contains("changed"), "{refused}");
        let stranger = Charter::new(
            &world.env,
            vec![crate::config::Regions::built_in().find(region("fra")).unwrap().info()],
        )
        .unwrap();
        let token = stranger.join_token(&world.env, region("fra"), HOUR, stranger.members());
        let refused = world.join(&token.question(world.wish("fra"))).await.err().unwrap();
        assert!(refused.contains("not of this cluster"), "{refused}");
        assert!(world.office.join(Bytes::from_static(b"x")).await.is_err());
    }

    #[tokio::test]
    async fn a_region_that_is_no_member_is_told_to_be_listed_first() {
        let world = world();
        let token =
            world.charter.join_token(&world.env, region("syd"), HOUR, world.charter.members());
        let refused = world.join(&token.question(world.wish("syd"))).await.err().unwrap();
        assert!(refused.contains("godwit region add syd"), "{refused}");
    }
}
