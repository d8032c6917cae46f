//! Exchange contexts: a request and its response, whoever asks.
//!
//! A context owns everything that lives only as long as its exchange: nonce, key exchange, job, messages, retransmission.
//! It comes from a pool, has a deadline, and dies by generation: what still names it afterwards is stale and harmless.

use crate::child_sa::ChildState;
use crate::engine::{Env, Ike, Refused};
use crate::event::DownReason;
use crate::ike_sa::SaState;
use crate::wire::{Collected, Payloads};
use core::ops::Range;

use ipsec_core::crypto::{Group, Provider};
use ipsec_core::path::Path;
use ipsec_core::time::Instant;

use crate::buffers::BufferId;
use crate::child_sa::Negotiation;
use crate::cookie::MAX_COOKIE;
use crate::event::{ChildRef, Direction, Failure};
use crate::keymat::{AuthKeys, Seed};
use crate::retransmit::Retransmit;
use crate::v2::intermediate::IntAuth;
use crate::v2::rivals::Rival;
use crate::wire::{NotifyType, PayloadType};

/// Bytes of the nonces that we make (RFC 7296 section 2.10: at least half the key size of the PRF, and 16).
pub(crate) const NONCE_LEN: usize = 32;

/// Memory for one exchange after IKE_AUTH. All zero is empty.
pub struct ExchangeSlot<P: Provider> {
    pub(crate) generation: u32,
    pub(crate) exchange: Exchange<P>,
}

impl<P: Provider> ExchangeSlot<P> {
    /// No exchange.
    pub const EMPTY: Self = Self { generation: 0, exchange: Exchange::EMPTY };
}

/// Memory for one half-open exchange: IKE_SA_INIT, and IKE_AUTH until the peer is authenticated. All zero is empty.
pub struct HandshakeSlot<P: Provider> {
    pub(crate) slot: ExchangeSlot<P>,
    pub(crate) handshake: Handshake<P>,
}

impl<P: Provider> HandshakeSlot<P> {
    /// No exchange.
    pub const EMPTY: Self = Self { slot: ExchangeSlot::EMPTY, handshake: Handshake::EMPTY };
}

/// What an exchange is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    None = 0,
    SaInit,
    /// A further key exchange before IKE_AUTH.
    Intermediate,
    Auth,
    /// A new child, or one that replaces another.
    CreateChild,
    RekeyIke,
    /// Deletion of a child.
    DeleteChild,
    /// Deletion of the IKE SA.
    DeleteIke,
    /// An address update, or another INFORMATIONAL request of MOBIKE.
    Mobike,
    /// An empty INFORMATIONAL request, or any of the peer's.
    Informational,
    /// One of IKEv1.
    #[cfg(feature = "ikev1")]
    V1(crate::v1::Kind),
}

/// What an exchange waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    Free = 0,
    /// The answer to a job.
    Job,
    /// The caller's answer to an install event.
    Install(Direction),
    /// The peer's response.
    Response,
    /// Nothing: the response is kept for a peer that asks again.
    Answered,
    /// The caller, who is to be told of the failure.
    Ended,
}

/// The job of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Work {
    None = 0,
    Generate,
    Respond,
    Agree,
    /// Our signature over the handshake.
    Sign,
    /// The peer's.
    Verify,
    /// Who the peer is, in the caller's store.
    #[cfg(feature = "store")]
    LookUp,
    /// Whether a user's password is right, as the caller knows it.
    #[cfg(feature = "ikev1")]
    User,
}

/// The peer's message, decrypted and kept while a job runs: the inner payloads.
#[derive(Clone, Copy)]
pub(crate) struct Parked {
    pub(crate) buffer: BufferId,
    pub(crate) first: PayloadType,
}

impl Parked {
    pub(crate) const NONE: Self = Self { buffer: BufferId::NONE, first: PayloadType::NONE };
}

/// A part of a slot that may be absent, and then is all zero bytes, which `Option` does not promise.
#[repr(u8)]
pub(crate) enum Maybe<T> {
    Nothing = 0,
    Just(T),
}

impl<T> Maybe<T> {
    pub(crate) const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    pub(crate) const fn as_ref(&self) -> Option<&T> {
        match self {
            Self::Nothing => None,
            Self::Just(value) => Some(value),
        }
    }

    /// Moves it out: not for secrets.
    pub(crate) fn take(&mut self) -> Option<T> {
        match core::mem::replace(self, Self::Nothing) {
            Self::Nothing => None,
            Self::Just(value) => Some(value),
        }
    }
}

pub(crate) struct Exchange<P: Provider> {
    pub(crate) stage: Stage,
    pub(crate) kind: Kind,
    /// Whether we ask.
    pub(crate) ours: bool,
    pub(crate) work: Work,
    /// Whether the caller has been told to install what [`Stage::Install`] waits for.
    pub(crate) install_told: bool,
    /// Tries with other groups, cookies and the like: bounded.
    pub(crate) retries: u8,
    /// Additional key exchanges that are over.
    pub(crate) round: u8,
    /// The slot of the IKE SA.
    pub(crate) sa: u32,
    pub(crate) message_id: u32,
    pub(crate) path: Path,
    pub(crate) group: Group,
    pub(crate) kx: Maybe<P::Kx>,
    pub(crate) nonce: [u8; NONCE_LEN],
    pub(crate) received: Parked,
    /// The shared secrets so far, where several key exchanges make one child or IKE SA. Of IKE_AUTH: what is signed with a
    /// PPK, and then the signature without it.
    pub(crate) secrets: BufferId,
    pub(crate) message: BufferId,
    /// Of the message that is being sent, the bytes that are sent already: fragments are sent one by one.
    pub(crate) sent: usize,
    pub(crate) retransmit: Retransmit,
    /// When our request is due again.
    pub(crate) again_at: Instant,
    pub(crate) negotiation: Negotiation,
    /// The slot of the IKE SA that is to replace `sa`, plus one.
    pub(crate) successor: u32,
    /// The SA that is to replace `sa` according to the other side's exchange: one of the two stays.
    pub(crate) rival: Rival,
    pub(crate) failure: Maybe<(Option<ChildRef>, Failure)>,
    #[cfg(feature = "ikev1")]
    pub(crate) v1: crate::v1::Context,
}

impl<P: Provider> Exchange<P> {
    pub(crate) const EMPTY: Self = Self {
        stage: Stage::Free,
        kind: Kind::None,
        ours: false,
        work: Work::None,
        install_told: false,
        retries: 0,
        round: 0,
        sa: 0,
        message_id: 0,
        path: Path::UNSPECIFIED,
        group: Group::NONE,
        kx: Maybe::Nothing,
        nonce: [0; NONCE_LEN],
        received: Parked::NONE,
        secrets: BufferId::NONE,
        message: BufferId::NONE,
        sent: 0,
        retransmit: Retransmit::EMPTY,
        again_at: Instant::ZERO,
        negotiation: Negotiation::EMPTY,
        successor: 0,
        rival: Rival::NONE,
        failure: Maybe::Nothing,
        #[cfg(feature = "ikev1")]
        v1: crate::v1::Context::EMPTY,
    };
}

/// What a handshake holds besides its exchange.
pub(crate) struct Handshake<P: Provider> {
    pub(crate) auth: AuthKeys,
    /// What the proofs cover of the additional key exchanges.
    pub(crate) int_auth: IntAuth,
    /// Our side of an additional key exchange. That of IKE_SA_INIT is kept: its answer may have been forged.
    pub(crate) additional: Maybe<P::Kx>,
    /// Of a responder: the keys after the additional key exchange that it answered last.
    pub(crate) next: Seed,
    /// The IKE_SA_INIT messages: both are signed over (RFC 7296 section 2.15).
    pub(crate) request: BufferId,
    pub(crate) response: BufferId,
    /// Another answer to our IKE_SA_INIT: the true one, if the first was forged.
    pub(crate) alternative: BufferId,
    /// The peer's endpoint and SPI, hashed: its place in the index. Of a responder only.
    pub(crate) hash: u64,
    /// The peer's address, hashed.
    pub(crate) source: u64,
    /// The peer has returned a cookie: somebody at that address has sent its request.
    pub(crate) is_there: bool,
    pub(crate) cookie: [u8; MAX_COOKIE],
    pub(crate) cookie_len: usize,
    /// The child to make with it.
    pub(crate) child: ChildRef,
    /// What came back without proof of its origin.
    pub(crate) hint: Option<NotifyType>,
    /// An answer came back that cannot be used, which may be the peer's.
    pub(crate) unusable: bool,
    /// Not all that came back can be the peer's answer to one request: somebody else may have sent a part of it.
    pub(crate) disturbed: bool,
    /// How often it was begun anew for that reason.
    pub(crate) restarts: u8,
    #[cfg(feature = "ikev1")]
    pub(crate) skeyid: crate::v1::keymat::Skeyid,
    /// HASH_I or HASH_R, while it is signed or its signature is verified.
    #[cfg(feature = "ikev1")]
    pub(crate) signed: crate::v1::keymat::Digest,
}

impl<P: Provider> Handshake<P> {
    pub(crate) const EMPTY: Self = Self {
        auth: AuthKeys::EMPTY,
        int_auth: IntAuth::EMPTY,
        additional: Maybe::Nothing,
        next: Seed::EMPTY,
        request: BufferId::NONE,
        response: BufferId::NONE,
        alternative: BufferId::NONE,
        hash: 0,
        source: 0,
        is_there: false,
        cookie: [0; MAX_COOKIE],
        cookie_len: 0,
        child: ChildRef { peer: 0, child: 0 },
        hint: None,
        unusable: false,
        disturbed: false,
        restarts: 0,
        #[cfg(feature = "ikev1")]
        skeyid: crate::v1::keymat::Skeyid::EMPTY,
        #[cfg(feature = "ikev1")]
        signed: crate::v1::keymat::Digest::EMPTY,
    };

    pub(crate) fn cookie(&self) -> &[u8] {
        self.cookie.get(..self.cookie_len).unwrap_or_default()
    }
}

/// All contexts: handshakes first, the others after them.
pub(crate) struct Contexts<'r, P: Provider> {
    pub(crate) handshakes: &'r mut [HandshakeSlot<P>],
    pub(crate) exchanges: &'r mut [ExchangeSlot<P>],
}

impl<P: Provider> Contexts<'_, P> {
    pub(crate) const fn len(&self) -> usize {
        self.handshakes.len().saturating_add(self.exchanges.len())
    }

    /// The numbers of the handshakes.
    pub(crate) fn handshake_numbers(&self) -> Range<u32> {
        0..u32::try_from(self.handshakes.len()).unwrap_or(u32::MAX)
    }

    pub(crate) const fn is_handshake(&self, number: u32) -> bool {
        (number as usize) < self.handshakes.len()
    }

    #[inline(never)]
    pub(crate) fn slot(&self, number: u32) -> Option<&ExchangeSlot<P>> {
        let index = number as usize;
        match self.handshakes.get(index) {
            Some(handshake) => Some(&handshake.slot),
            None => self.exchanges.get(index.checked_sub(self.handshakes.len())?),
        }
    }

    #[inline(never)]
    pub(crate) fn slot_mut(&mut self, number: u32) -> Option<&mut ExchangeSlot<P>> {
        let index = number as usize;
        let handshakes = self.handshakes.len();
        match self.handshakes.get_mut(index) {
            Some(handshake) => Some(&mut handshake.slot),
            None => self.exchanges.get_mut(index.checked_sub(handshakes)?),
        }
    }

    /// A context that is in use.
    #[inline(never)]
    pub(crate) fn exchange(&self, number: u32) -> Option<&Exchange<P>> {
        self.slot(number).map(|s| &s.exchange).filter(|x| x.stage != Stage::Free)
    }

    /// A context that is in use.
    #[inline(never)]
    pub(crate) fn get(&mut self, number: u32) -> Option<&mut Exchange<P>> {
        self.slot_mut(number).map(|s| &mut s.exchange).filter(|x| x.stage != Stage::Free)
    }

    /// A handshake that is in use.
    #[inline(never)]
    pub(crate) fn handshake(
        &mut self,
        number: u32,
    ) -> Option<(&mut Exchange<P>, &mut Handshake<P>)> {
        let slot = self.handshakes.get_mut(number as usize)?;
        (slot.slot.exchange.stage != Stage::Free)
            .then_some((&mut slot.slot.exchange, &mut slot.handshake))
    }
}

impl<P: Provider> Ike<'_, P> {
    /// Whether there is room to ask the peer of `sa` for something, and to answer it besides: if each of two peers
    /// gave its last room to a request, neither would ever be answered.
    pub(crate) fn may_ask(&self, sa: u32) -> bool {
        let last = self.sas.get(sa as usize).and_then(|slot| slot.sa.theirs.checked_sub(1));
        let answers = last.is_some_and(|number| !self.contexts.is_handshake(number));
        let needed = if answers || self.contexts.exchanges.len() < 2 { 1 } else { 2 };
        self.free_exchanges.len() >= needed && self.buffers.free() >= 2
    }

    /// Frees a context that only keeps the last response of an SA which the peer has deleted. Looks at 64 of them, no more.
    pub(crate) fn forget_farewell(&mut self, env: &mut Env<'_>) {
        let first = self.contexts.handshake_numbers().end;
        let farewell = self.contexts.exchanges.iter().take(64).position(|slot| {
            let x = &slot.exchange;
            let sa = self.sas.get(x.sa as usize);
            let deleted = sa.is_some_and(|slot| slot.sa.state == SaState::Deleted);
            #[cfg(feature = "ikev1")]
            let deleted = deleted || matches!(x.kind, Kind::V1(_));
            x.stage == Stage::Answered && deleted
        });
        if let Some(local) = farewell.and_then(|local| u32::try_from(local).ok()) {
            self.end_exchange(env, first.saturating_add(local));
        }
    }

    /// Takes a context for an exchange after IKE_AUTH.
    pub(crate) fn begin_exchange(&mut self, sa: u32, kind: Kind, ours: bool) -> Option<u32> {
        let local = self.free_exchanges.pop()?;
        let number = local.saturating_add(self.contexts.handshake_numbers().end);
        self.start_context(number, sa, kind, ours);
        Some(number)
    }

    /// How many half-open exchanges other initiators may have. A quarter of the pool, and at least one if there are two,
    /// is kept for those that we begin.
    pub(crate) fn half_open_limit(&self) -> usize {
        let pool = self.contexts.handshakes.len();
        let reserve = if pool < 2 { 0 } else { (pool / 4).max(1) };
        pool.saturating_sub(reserve)
    }

    /// Takes a context for a half-open exchange.
    pub(crate) fn begin_handshake(&mut self, sa: u32, ours: bool) -> Option<u32> {
        if !ours && self.half_open_count >= self.half_open_limit() {
            return None;
        }
        let number = self.free_handshakes.pop()?;
        self.start_context(number, sa, Kind::SaInit, ours);
        Some(number)
    }

    fn start_context(&mut self, number: u32, sa: u32, kind: Kind, ours: bool) {
        if let Some(slot) = self.contexts.slot_mut(number) {
            slot.generation = slot.generation.wrapping_add(1);
            slot.exchange = Exchange::EMPTY;
            slot.exchange.stage = Stage::Job;
            slot.exchange.kind = kind;
            slot.exchange.ours = ours;
            slot.exchange.sa = sa;
        }
    }

    /// Ends an exchange: wipes its secrets and gives back what it holds. A failure of it is told first.
    pub(crate) fn end_exchange(&mut self, env: &mut Env<'_>, number: u32) {
        #[cfg(feature = "ikev1")]
        self.v1_leave_list(number);
        let Some(x) = self.contexts.get(number) else { return };
        let (sa, successor) = (x.sa, x.successor);
        let (mut message, mut received) = (x.message, x.received.buffer);
        let mut secrets = core::mem::take(&mut x.secrets);
        x.message = BufferId::NONE;
        x.received.buffer = BufferId::NONE;
        x.successor = 0;
        let (ours, rival) = (x.ours, core::mem::replace(&mut x.rival, Rival::NONE));
        x.kx = Maybe::Nothing;
        x.work = Work::None;
        let child = core::mem::take(&mut x.negotiation.child);
        x.negotiation = Negotiation::EMPTY;
        let told = x.failure.is_nothing();
        x.stage = if told { Stage::Free } else { Stage::Ended };
        self.buffers.release(&mut message);
        self.buffers.release(&mut received);
        self.buffers.release(&mut secrets);
        self.deadlines.set(self.context_node(number), None);
        if let Some(slot) = self.sas.get_mut(sa as usize) {
            if slot.sa.ours == number.saturating_add(1) {
                slot.sa.ours = 0;
            }
            if slot.sa.theirs == number.saturating_add(1) {
                slot.sa.theirs = 0;
            }
        }
        if let Some(index) = child.checked_sub(1)
            && self
                .children
                .get(index as usize)
                .is_some_and(|c| c.child.state == ChildState::Larval)
        {
            self.child_down(env, index, DownReason::Closed);
        }
        if let Some(index) = successor.checked_sub(1) {
            self.release_sa(index);
        }
        self.rival_left(env, sa, rival, ours);
        if ours {
            self.forget_partial(sa, true);
        }
        if let Some(slot) = self.contexts.handshakes.get_mut(number as usize) {
            let handshake = &mut slot.handshake;
            for id in [&mut handshake.request, &mut handshake.response, &mut handshake.alternative]
            {
                self.buffers.release(id);
            }
            if handshake.hash != 0 {
                self.half_open.remove(handshake.hash, number);
                self.sources.remove(handshake.source, number);
                self.half_open_count = self.half_open_count.saturating_sub(1);
            }
            *handshake = Handshake::EMPTY;
        }
        if told {
            self.free_context(number);
        } else {
            self.events.push(self.context_node(number));
        }
    }

    /// Gives back a context whose failure, if any, has been told.
    pub(crate) fn free_context(&mut self, number: u32) {
        if let Some(slot) = self.contexts.slot_mut(number) {
            slot.exchange = Exchange::EMPTY;
            slot.generation = slot.generation.wrapping_add(1);
        }
        match number.checked_sub(self.contexts.handshake_numbers().end) {
            Some(local) => self.free_exchanges.push(local),
            None => self.free_handshakes.push(number),
        }
    }

    /// Ends an exchange with a failure to tell.
    pub(crate) fn fail(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        child: Option<ChildRef>,
        failure: Failure,
    ) {
        if let Some(x) = self.contexts.get(number) {
            x.failure = Maybe::Just((child, failure));
        }
        self.end_exchange(env, number);
    }

    /// Tells a failure that belongs to no exchange.
    pub(crate) fn refuse(
        &mut self,
        peer: Option<u16>,
        child: Option<ChildRef>,
        path: Path,
        failure: Failure,
    ) {
        if self.refusal.is_none() {
            self.refusal = Some(Refused { peer, child, path, failure });
        }
    }

    /// Makes a job of an exchange known.
    pub(crate) fn queue_job(&mut self, number: u32, work: Work) {
        if self.contexts.exchange(number).is_none() {
            return;
        }
        if let Some(slot) = self.contexts.slot_mut(number) {
            // An exchange may have several jobs, and each has a name of its own.
            slot.generation = slot.generation.wrapping_add(1);
            slot.exchange.stage = Stage::Job;
            slot.exchange.work = work;
            self.jobs.push(number);
        }
    }

    /// The peer's message of an exchange, decrypted.
    pub(crate) fn parked(&self, number: u32) -> Option<Collected<'_>> {
        let received = self.contexts.exchange(number)?.received;
        Collected::collect(Payloads::inner(received.first, self.buffers.bytes(received.buffer)))
            .ok()
    }
}
