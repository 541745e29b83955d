//! Questions to voters: each names the epoch that it is asked in.

use std::collections::BTreeMap;
use std::future::Future;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::env::{Class, PeerError};
use crate::limits;
use crate::logic::register::change::Electorate;
use crate::net::message::{Request, Response};
use crate::net::registers::{RegisterRequest, RegisterResponse};
use crate::types::region::RegionId;

use super::error::Unavailable;
use super::hold::transfer_time;
use super::register::Registers;

/// Why a voter gave no answer.
pub(super) enum Missed {
    Failed(String),
    /// The voters have changed.
    Moved(Electorate),
}

impl Missed {
    pub(super) fn told(self) -> String {
        match self {
            Self::Failed(why) => why,
            Self::Moved(_) => "the voters have changed; ask again".to_owned(),
        }
    }
}

impl From<String> for Missed {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl Registers {
    /// Asks all voters of one epoch at once; what they say, as soon as those who answered are a
    /// quorum of it.
    pub(super) async fn ask_quorum<T, F>(
        &self,
        ask: impl Fn(RegionId, Electorate) -> F,
    ) -> Result<BTreeMap<RegionId, T>, Unavailable>
    where
        F: Future<Output = Result<T, Missed>>,
    {
        let electorate = self.host().members().electorate().clone();
        let voters = electorate.everyone().into_iter();
        let ask = |voter| {
            let asked = ask(voter, electorate.clone());
            async move { (voter, asked.await) }
        };
        let mut asked: FuturesUnordered<_> = voters.map(ask).collect();
        let (mut told, mut silent) = (BTreeMap::new(), Vec::new());
        while let Some((voter, answer)) = asked.next().await {
            match answer {
                Ok(answer) => _ = told.insert(voter, answer),
                Err(why) => silent.push(format!("{voter}: {}", why.told())),
            }
            if electorate.is_quorum(|voter| told.contains_key(&voter)) {
                return Ok(told);
            }
        }
        let why = silent.join("; ");
        Err(Unavailable::new(format!("no majority of the voters answers ({why})")))
    }

    /// Asks a voter something that one epoch alone is asked; it is told of the epoch first where it
    /// does not know it.
    pub(super) async fn ask_of_epoch(
        &self,
        voter: RegionId,
        epoch: u64,
        request: RegisterRequest,
    ) -> Result<RegisterResponse, Missed> {
        let mut response = self.ask_voter(voter, request.clone()).await?;
        let known = self.host().members();
        if response == RegisterResponse::Behind && known.electorate().epoch() == epoch {
            self.ask_voter(voter, RegisterRequest::Adopt(Box::new((*known).clone()))).await?;
            response = self.ask_voter(voter, request).await?;
        }
        if let RegisterResponse::Members(members) = response {
            let electorate = members.electorate().clone();
            self.host().adopt(*members).await.map_err(|why| why.to_string())?;
            return Err(Missed::Moved(electorate));
        }
        Ok(response)
    }

    /// Asks a peer, or this node itself.
    pub(super) async fn ask_voter(
        &self,
        voter: RegionId,
        request: RegisterRequest,
    ) -> Result<RegisterResponse, String> {
        if voter == self.host().region() {
            self.answer(voter, request).await.map_err(|why| why.to_string())
        } else {
            self.call(voter, request).await.map_err(|why| why.to_string())
        }
    }

    pub(super) async fn call(
        &self,
        to: RegionId,
        request: RegisterRequest,
    ) -> Result<RegisterResponse, PeerError> {
        let limit = match &request {
            // The bytes are waited for there, and synced.
            RegisterRequest::Offer { change, .. } => {
                limits::ACK_TIMEOUT + transfer_time(&change.blobs)
            }
            RegisterRequest::Adopt(_)
            | RegisterRequest::Close { .. }
            | RegisterRequest::Confirm(_)
            | RegisterRequest::KeyNews { .. }
            | RegisterRequest::Lease { .. }
            | RegisterRequest::List { .. }
            | RegisterRequest::Members
            | RegisterRequest::Range { .. }
            | RegisterRequest::Reached { .. }
            | RegisterRequest::Recall { .. }
            | RegisterRequest::Record { .. }
            | RegisterRequest::Release { .. }
            | RegisterRequest::Remains => limits::REGISTER_ROUND_TIMEOUT,
        };
        let request = Request::Register(Box::new(request));
        match self.host().call(to, Class::Register, &request, limit).await? {
            Response::Register(response) => Ok(*response),
            other => Err(PeerError::Refused(format!("{to} answered {}", other.name()))),
        }
    }
}

/// What an answer says that is none.
pub(super) fn odd(response: RegisterResponse) -> String {
    match response {
        RegisterResponse::Declined(why) => why,
        RegisterResponse::Behind => "knows older voters".to_owned(),
        RegisterResponse::Closed { .. }
        | RegisterResponse::Confirmed
        | RegisterResponse::KeyNews(_)
        | RegisterResponse::Lease { .. }
        | RegisterResponse::Listed { .. }
        | RegisterResponse::Members(_)
        | RegisterResponse::Outdated(_)
        | RegisterResponse::Range { .. }
        | RegisterResponse::Record { .. }
        | RegisterResponse::Released { .. }
        | RegisterResponse::Remains(_) => "answered another question".to_owned(),
    }
}
