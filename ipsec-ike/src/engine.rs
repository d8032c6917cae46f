//! The engine: slots, contexts, and the calls that a caller makes.
//!
//! What an exchange does is in [`v2`](crate::v2), one file an exchange; here is what all of them share.

use ipsec_core::crypto::Provider;
use ipsec_core::list::{Deadline, Deadlines, SlotList};
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::sa::Spi;
use ipsec_core::sad::SpiAllocator;
use ipsec_core::time::Instant;
use rand_core::CryptoRng;

use crate::buffers::{BufferId, Buffers};
use crate::child_sa::{self, Child, ChildSlot, ChildState, Negotiation};
use crate::config::{self, Config, Peer};
use crate::cookie::CookieSecrets;
use crate::event::{ChildId, ChildRef, DownReason, Failure, IkeId};
use crate::exchange::{
    Contexts, Exchange, ExchangeSlot, Handshake, HandshakeSlot, Kind, Stage, Work,
};
use crate::ike_sa::{self, IkeSa, IkeSlot, SaState};
use crate::index::HashIndex;
use crate::jobs::{Answer, Job, JobId};
use crate::timer::LINGER;
use crate::wire::{Collected, Message, Payloads, WireError};

/// What every input brings along.
pub struct Env<'e> {
    /// The time. Calling late delays retransmissions and rekeying, and nothing else.
    pub now: Instant,
    /// Randomness: SPIs, nonces, private values.
    pub rng: &'e mut dyn CryptoRng,
    /// Who reserves the SPIs that we receive on.
    pub spis: &'e mut dyn SpiAllocator,
}

/// Memory for an engine. An empty slot is all zero bytes.
pub struct IkeMemory<'r, P: Provider> {
    /// IKE SAs: those established, those half open, and those that replace others.
    pub sas: &'r mut [IkeSlot],
    /// Half-open exchanges, from IKE_SA_INIT to IKE_AUTH. A quarter is kept for those that we begin.
    pub handshakes: &'r mut [HandshakeSlot<P>],
    /// Exchanges after IKE_AUTH. An IKE SA uses up to two at a time, and keeps one for some minutes after a request of
    /// the peer's.
    pub exchanges: &'r mut [ExchangeSlot<P>],
    /// Child SAs. Rekeying needs one besides the one replaced.
    pub children: &'r mut [ChildSlot],
    /// Messages: `buffers.len() / buffer_len` of them.
    pub buffers: &'r mut [u8],
    /// The largest message, in bytes.
    pub buffer_len: usize,
    /// [`IkeMemory::links`] words.
    pub links: &'r mut [u32],
    /// One for each slot of `sas`, `handshakes`, `exchanges` and `children`.
    pub deadlines: &'r mut [Deadline],
}

impl<P: Provider> IkeMemory<'_, P> {
    /// How many links an engine of this size needs.
    pub const fn links(
        sas: usize,
        handshakes: usize,
        exchanges: usize,
        children: usize,
        buffers: usize,
    ) -> usize {
        3 * sas + 8 * handshakes + 4 * exchanges + 2 * children + 2 * buffers
    }
}

/// Why a datagram was dropped. No SA has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DatagramError {
    /// Peer: the message is malformed.
    Wire(WireError),
    /// Peer: no IKE SA has these SPIs.
    UnknownSpi,
    /// Peer: no configured peer has this address.
    UnknownPeer,
    /// Peer: the message is not from the peer, or was changed.
    Integrity,
    /// Peer: an exchange, role or flag that does not belong here.
    Unexpected,
    /// Peer: a message ID of the past, or an answer to nothing.
    Stale,
    /// Peer: it was asked to return a cookie, or to begin anew with another group.
    Challenged,
    /// Peer: refused, and told so.
    Refused,
    /// Local: the exchange is waiting for a job or an install; the peer will send again.
    Busy,
    /// Capacity: a pool is exhausted; the peer will send again.
    NoRoom,
    /// Local: the provider failed.
    Crypto,
}

impl core::fmt::Display for DatagramError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Wire(e) => e.fmt(f),
            Self::UnknownSpi => f.write_str("no IKE SA has these SPIs"),
            Self::UnknownPeer => f.write_str("no configured peer has this address"),
            Self::Integrity => f.write_str("integrity check failed"),
            Self::Unexpected => f.write_str("unexpected exchange or flags"),
            Self::Stale => f.write_str("message ID of the past, or an answer to nothing"),
            Self::Challenged => f.write_str("asked for a cookie or another group"),
            Self::Refused => f.write_str("refused"),
            Self::Busy => f.write_str("busy with this exchange"),
            Self::NoRoom => f.write_str("a pool is exhausted"),
            Self::Crypto => f.write_str("cryptography failed"),
        }
    }
}

impl core::error::Error for DatagramError {}

impl From<WireError> for DatagramError {
    fn from(e: WireError) -> Self {
        Self::Wire(e)
    }
}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CommandError {
    /// Local: no such peer, child or SA.
    Unknown,
    /// Local: the peer's address, or ours, is not configured; only it can begin.
    NoAddress,
    /// Capacity: a pool is exhausted.
    NoRoom,
}

impl core::fmt::Display for CommandError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "no such peer, child or SA",
            Self::NoAddress => "the peer's address or ours is not configured",
            Self::NoRoom => "a pool is exhausted",
        })
    }
}

impl core::error::Error for CommandError {}

/// A datagram to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Transmit {
    /// From where to where.
    pub path: Path,
    /// Bytes of the buffer that are the UDP payload.
    pub len: usize,
}

/// The buffer given to [`Ike::poll_transmit`] is too small; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BufferTooSmall {
    /// Bytes that are needed.
    pub needed: usize,
}

impl core::fmt::Display for BufferTooSmall {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "a buffer of {} bytes is needed", self.needed)
    }
}

impl core::error::Error for BufferTooSmall {}

/// The IKE engine: all peers, all SAs, both roles.
pub struct Ike<'r, P: Provider> {
    pub(crate) config: Config<'r>,
    pub(crate) sas: &'r mut [IkeSlot],
    pub(crate) contexts: Contexts<'r, P>,
    pub(crate) children: &'r mut [ChildSlot],
    pub(crate) buffers: Buffers<'r>,
    pub(crate) free_sas: SlotList<'r>,
    pub(crate) free_handshakes: SlotList<'r>,
    /// Numbered from zero, unlike the contexts.
    pub(crate) free_exchanges: SlotList<'r>,
    pub(crate) free_children: SlotList<'r>,
    /// Contexts with a message to send, then SAs with a keepalive to send.
    pub(crate) transmits: SlotList<'r>,
    /// Contexts with a job to hand out.
    pub(crate) jobs: SlotList<'r>,
    /// SAs, contexts and children with something to tell.
    pub(crate) events: SlotList<'r>,
    /// SAs, contexts and children.
    pub(crate) deadlines: Deadlines<'r>,
    /// Handshakes of other initiators, by their endpoint and SPI.
    pub(crate) half_open: HashIndex<'r>,
    /// Handshakes of other initiators, by their address.
    pub(crate) sources: HashIndex<'r>,
    pub(crate) half_open_count: usize,
    pub(crate) cookies: CookieSecrets,
    /// The one answer that belongs to no exchange.
    pub(crate) reply: Reply,
    /// The one failure that belongs to no exchange; later ones are lost until it has been told.
    pub(crate) refusal: Option<(Option<u16>, Path, Failure)>,
    slot_mask: u64,
}

/// A stateless answer: to ask for a cookie, or to refuse.
pub(crate) struct Reply {
    pub(crate) message: BufferId,
    pub(crate) path: Path,
}

impl<'r, P: Provider> Ike<'r, P> {
    /// An engine without SAs.
    pub fn new(config: Config<'r>, memory: IkeMemory<'r, P>, rng: &mut dyn CryptoRng) -> Self {
        let IkeMemory {
            sas,
            handshakes,
            exchanges,
            children,
            buffers,
            buffer_len,
            links,
            deadlines,
        } = memory;
        let (s, h, e, c) = (sas.len(), handshakes.len(), exchanges.len(), children.len());
        let contexts = h.saturating_add(e);
        let mut links = Links(links);
        let buffer_count = buffers.len().checked_div(buffer_len).unwrap_or(0);
        let key = [rng.next_u64(), rng.next_u64()];
        let source_key = [rng.next_u64(), rng.next_u64()];
        let slots = u32::try_from(s).unwrap_or(u32::MAX);
        let mut engine = Self {
            config,
            free_sas: full(links.take(s)),
            free_handshakes: full(links.take(h)),
            free_exchanges: full(links.take(e)),
            free_children: full(links.take(c)),
            transmits: SlotList::new(links.take(contexts.saturating_add(s))),
            jobs: SlotList::new(links.take(contexts)),
            events: SlotList::new(links.take(contexts.saturating_add(s).saturating_add(c))),
            half_open: HashIndex::new(links.take(h), links.take(h), key),
            sources: HashIndex::new(links.take(h), links.take(h), source_key),
            buffers: Buffers::new(buffers, buffer_len, links.take(buffer_count.saturating_mul(2))),
            deadlines: Deadlines::new(deadlines),
            slot_mask: u64::from(
                u32::MAX.checked_shr(slots.saturating_sub(1).leading_zeros()).unwrap_or(0),
            ),
            sas,
            contexts: Contexts { handshakes, exchanges },
            children,
            half_open_count: 0,
            cookies: CookieSecrets::EMPTY,
            reply: Reply { message: BufferId::NONE, path: Path::UNSPECIFIED },
            refusal: None,
        };
        engine.cookies.rotate(Instant::ZERO, rng);
        engine
    }

    /// The configuration.
    pub const fn config(&self) -> &Config<'r> {
        &self.config
    }

    /// IKE SAs in use, half-open ones included. Scans; for reports and tests.
    pub fn sas_in_use(&self) -> usize {
        self.sas.iter().filter(|s| s.sa.state != SaState::Empty).count()
    }

    /// IKE SAs that are established. Scans; for reports and tests.
    pub fn established(&self) -> impl Iterator<Item = (IkeId, u16)> {
        self.sas.iter().enumerate().filter(|(_, s)| s.sa.state == SaState::Established).map(
            |(slot, s)| {
                let slot = u32::try_from(slot).unwrap_or(u32::MAX);
                (IkeId { slot, generation: s.generation }, s.sa.peer)
            },
        )
    }

    /// Children that are established. Scans; for reports and tests.
    pub fn established_children(&self) -> impl Iterator<Item = (ChildId, ChildRef)> {
        self.children
            .iter()
            .enumerate()
            .filter(|(_, c)| c.child.state == ChildState::Established)
            .map(|(slot, c)| {
                let slot = u32::try_from(slot).unwrap_or(u32::MAX);
                (ChildId { slot, generation: c.generation }, c.child.config)
            })
    }

    /// Children in use. Scans; for reports and tests.
    pub fn children_in_use(&self) -> usize {
        self.children.iter().filter(|c| c.child.state != ChildState::Empty).count()
    }

    /// Half-open exchanges. Scans; for reports and tests.
    pub fn handshakes_in_use(&self) -> usize {
        self.contexts.handshakes.iter().filter(|h| h.slot.exchange.stage != Stage::Free).count()
    }

    /// Exchanges after IKE_AUTH, those included whose response is only kept. Scans; for reports and tests.
    pub fn exchanges_in_use(&self) -> usize {
        self.contexts.exchanges.iter().filter(|x| x.exchange.stage != Stage::Free).count()
    }

    /// Message buffers that are free.
    pub const fn buffers_free(&self) -> usize {
        self.buffers.free()
    }

    /// When [`Ike::handle_timeout`] is to be called next. Call again after every `handle_*`, command and poll.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    // ---- polls ----

    /// Names a job that waits to be done, once.
    ///
    /// Call again after every `handle_*`, `installed` and command, until `None`.
    #[must_use]
    pub fn poll_job(&mut self) -> Option<JobId> {
        while let Some(number) = self.jobs.pop() {
            let Some(slot) = self.contexts.slot(number) else { continue };
            if slot.exchange.stage == Stage::Job {
                return Some(JobId { exchange: number, generation: slot.generation });
            }
        }
        None
    }

    /// The inputs of a job, as often as asked, until it is answered or its exchange is over.
    pub fn job(&self, id: JobId) -> Option<Job<'_, P>> {
        let slot = self.contexts.slot(id.exchange).filter(|s| s.generation == id.generation)?;
        let x = &slot.exchange;
        if x.stage != Stage::Job {
            return None;
        }
        let group = x.group;
        match x.work {
            Work::None => None,
            Work::Generate => Some(Job::Generate { group }),
            Work::Respond => Some(Job::Respond { group, peer: self.peer_public(id.exchange)? }),
            Work::Agree => {
                Some(Job::Agree { kx: x.kx.as_ref()?, peer: self.peer_public(id.exchange)? })
            }
        }
    }

    /// The public value in the peer's message.
    fn peer_public(&self, number: u32) -> Option<&[u8]> {
        let x = self.contexts.exchange(number)?;
        let collected = match self.contexts.handshakes.get(number as usize) {
            Some(slot) if x.kind == Kind::SaInit => {
                let id = if x.ours { slot.handshake.response } else { slot.handshake.request };
                Message::parse(self.buffers.bytes(id)).ok()?.collect().ok()?
            }
            _ => self.parked(number)?,
        };
        collected.ke.map(|ke| ke.data)
    }

    /// The peer's message of an exchange, decrypted.
    pub(crate) fn parked(&self, number: u32) -> Option<Collected<'_>> {
        let received = self.contexts.exchange(number)?.received;
        Collected::collect(Payloads::inner(received.first, self.buffers.bytes(received.buffer)))
            .ok()
    }

    /// Gives the answer to a job. One that is late, repeated or of the wrong kind is ignored.
    pub fn handle_job(&mut self, env: &mut Env<'_>, id: JobId, answer: Answer<'_, P>) {
        let Some(slot) = self
            .contexts
            .slot_mut(id.exchange)
            .filter(|s| s.generation == id.generation && s.exchange.stage == Stage::Job)
        else {
            return;
        };
        let x = &mut slot.exchange;
        let number = id.exchange;
        match (x.work, answer) {
            (Work::Generate, Answer::Generated { kx, public }) => {
                x.kx = Some(kx);
                x.work = Work::None;
                match x.kind {
                    Kind::SaInit => self.sa_init_request(env, number, public),
                    Kind::CreateChild => self.create_child_request(env, number, Some(public)),
                    Kind::RekeyIke => self.rekey_ike_request(env, number, public),
                    _ => {}
                }
            }
            (Work::Respond, Answer::Responded { secret, public }) => {
                x.work = Work::None;
                match x.kind {
                    Kind::SaInit => self.sa_init_respond(env, number, secret.as_ref(), public),
                    Kind::CreateChild => {
                        self.create_child_respond(env, number, Some((secret.as_ref(), public)));
                    }
                    Kind::RekeyIke => self.rekey_ike_respond(env, number, secret.as_ref(), public),
                    _ => {}
                }
            }
            (Work::Agree, Answer::Agreed { secret }) => {
                x.work = Work::None;
                match x.kind {
                    Kind::SaInit => self.sa_init_agreed(env, number, secret.as_ref()),
                    Kind::CreateChild => {
                        self.create_child_agreed(env, number, Some(secret.as_ref()));
                    }
                    Kind::RekeyIke => self.rekey_ike_agreed(env, number, secret.as_ref()),
                    _ => {}
                }
            }
            (_, Answer::Failed(_)) => self.job_failed(env, number),
            _ => {}
        }
    }

    // ---- contexts ----

    /// Takes a context for an exchange after IKE_AUTH.
    pub(crate) fn begin_exchange(&mut self, sa: u32, kind: Kind, ours: bool) -> Option<u32> {
        let local = self.free_exchanges.pop()?;
        let number = local.saturating_add(self.contexts.handshake_numbers().end);
        self.start_context(number, sa, kind, ours);
        Some(number)
    }

    /// Takes a context for a half-open exchange. A quarter of them, and at least one if there are two, is kept for
    /// those that we begin.
    pub(crate) fn begin_handshake(&mut self, sa: u32, ours: bool) -> Option<u32> {
        let pool = self.contexts.handshakes.len();
        let reserve = if pool < 2 { 0 } else { (pool / 4).max(1) };
        if !ours && self.half_open_count >= pool.saturating_sub(reserve) {
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
        let Some(x) = self.contexts.get(number) else { return };
        let (sa, successor) = (x.sa, x.successor);
        let (mut message, mut received) = (x.message, x.received.buffer);
        x.message = BufferId::NONE;
        x.received.buffer = BufferId::NONE;
        x.successor = 0;
        x.kx = None;
        x.work = Work::None;
        let child = core::mem::take(&mut x.negotiation.child);
        x.negotiation = Negotiation::EMPTY;
        let told = x.failure.is_none();
        x.stage = if told { Stage::Free } else { Stage::Ended };
        self.buffers.release(&mut message);
        self.buffers.release(&mut received);
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
            x.failure = Some((child, failure));
        }
        self.end_exchange(env, number);
    }

    /// Tells a failure that belongs to no exchange.
    pub(crate) fn refuse(&mut self, peer: Option<u16>, path: Path, failure: Failure) {
        if self.refusal.is_none() {
            self.refusal = Some((peer, path, failure));
        }
    }

    /// Makes a job of an exchange known.
    pub(crate) fn queue_job(&mut self, number: u32, work: Work) {
        if let Some(x) = self.contexts.get(number) {
            x.stage = Stage::Job;
            x.work = work;
            self.jobs.push(number);
        }
    }

    // ---- IKE SAs ----

    /// Takes a slot for an IKE SA and chooses our SPI: its low bits are the slot's number, the rest is random.
    pub(crate) fn new_sa(&mut self, env: &mut Env<'_>, initiator: bool) -> Option<u32> {
        let number = self.free_sas.first()?;
        let slot = self.sas.get_mut(number as usize)?;
        let random = env.rng.next_u64() & !self.slot_mask;
        // An SPI is never zero (RFC 7296 section 3.1).
        let random = if random == 0 { !self.slot_mask } else { random };
        let spi = random | u64::from(number);
        slot.generation = slot.generation.wrapping_add(1);
        slot.sa = IkeSa::EMPTY;
        slot.sa.state = SaState::Larval;
        slot.sa.initiator = initiator;
        if initiator {
            slot.sa.spi_i = spi
        } else {
            slot.sa.spi_r = spi
        }
        let _ = self.free_sas.pop();
        Some(number)
    }

    /// Wipes an IKE SA and gives back its slot.
    pub(crate) fn release_sa(&mut self, number: u32) {
        if let Some(slot) = self.sas.get_mut(number as usize)
            && slot.sa.state != SaState::Empty
        {
            slot.sa = IkeSa::EMPTY;
            slot.generation = slot.generation.wrapping_add(1);
            self.deadlines.set(number, None);
            self.free_sas.push(number);
        }
    }

    pub(crate) fn sa(&mut self, number: u32) -> Option<&mut IkeSa> {
        self.sas.get_mut(number as usize).map(|s| &mut s.sa).filter(|s| s.state != SaState::Empty)
    }

    /// The slot of a live handle.
    pub(crate) fn sa_number(&self, id: IkeId) -> Option<u32> {
        let slot = self.sas.get(id.slot as usize)?;
        (slot.generation == id.generation && slot.sa.is_authenticated()).then_some(id.slot)
    }

    pub(crate) fn ike_id(&self, number: u32) -> IkeId {
        let generation = self.sas.get(number as usize).map_or(0, |s| s.generation);
        IkeId { slot: number, generation }
    }

    /// The slot that an SPI of ours names.
    pub(crate) fn sa_by_spi(&self, own_spi: u64, peer_spi: u64) -> Option<u32> {
        let number = self.sa_by_own_spi(own_spi)?;
        let sa = &self.sas.get(number as usize)?.sa;
        let theirs = if sa.initiator { sa.spi_r } else { sa.spi_i };
        (theirs == peer_spi).then_some(number)
    }

    /// The slot that an SPI of ours names, whatever the peer's is.
    pub(crate) fn sa_by_own_spi(&self, own_spi: u64) -> Option<u32> {
        let number = u32::try_from(own_spi & self.slot_mask).ok()?;
        let sa = &self.sas.get(number as usize)?.sa;
        (sa.state != SaState::Empty && sa.own_spi() == own_spi).then_some(number)
    }

    /// The configuration of an SA's peer.
    pub(crate) fn peer_of(&self, sa: u32) -> Option<&'r Peer<'r>> {
        let peer = self.sas.get(sa as usize)?.sa.peer;
        self.config.peers.get(usize::from(peer))
    }

    /// The configuration of a child.
    pub(crate) fn child_config(&self, config: ChildRef) -> Option<&'r config::Child<'r>> {
        let peer = self.config.peers.get(usize::from(config.peer))?;
        peer.children.get(usize::from(config.child))
    }

    /// Ends an IKE SA: its exchanges and children end, and the caller is told.
    ///
    /// One that the peer deleted stays a little, to repeat its last response to a peer that asks again.
    pub(crate) fn sa_down(&mut self, env: &mut Env<'_>, number: u32, reason: DownReason) {
        let Some(sa) = self.sa(number) else { return };
        let lingers = reason == DownReason::Deleted;
        let announced = sa.is_authenticated() && !sa.replaced;
        sa.down = reason;
        sa.state = if lingers { SaState::Deleted } else { SaState::Closing };
        sa.want = 0;
        let (ours, theirs) = (sa.ours, if lingers { 0 } else { sa.theirs });
        for context in [ours, theirs].into_iter().filter_map(|n| n.checked_sub(1)) {
            self.end_exchange(env, context);
        }
        let why = match reason {
            DownReason::Closed | DownReason::PeerSilent => reason,
            _ => DownReason::IkeGone,
        };
        while let Some(child) = self.sa(number).and_then(|sa| sa.children.checked_sub(1)) {
            self.child_down(env, child, why);
        }
        self.deadlines.set(number, lingers.then(|| env.now.after(LINGER)));
        if announced {
            if let Some(sa) = self.sa(number) {
                sa.tell = ike_sa::tell::DOWN;
            }
            self.events.push(number);
        } else if !lingers {
            self.release_sa(number);
        }
    }

    // ---- children ----

    /// Takes a slot for a child of `sa`, in no list of it yet, with an SPI to receive on.
    pub(crate) fn new_child(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        config: ChildRef,
    ) -> Option<u32> {
        let number = self.free_children.first()?;
        let spi = env.spis.reserve(env.rng)?;
        let slot = self.children.get_mut(number as usize)?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.child = Child::EMPTY;
        slot.child.state = ChildState::Larval;
        slot.child.config = config;
        slot.child.spi_in = spi.get();
        slot.child.ike = sa;
        let _ = self.free_children.pop();
        self.adopt_child(sa, number);
        Some(number)
    }

    /// Puts a child at the head of an SA's list.
    fn adopt_child(&mut self, sa: u32, number: u32) {
        let Some(owner) = self.sas.get_mut(sa as usize) else { return };
        let head = core::mem::replace(&mut owner.sa.children, number.saturating_add(1));
        if let Some(child) = self.child(number) {
            child.ike = sa;
            child.next = head;
        }
    }

    /// Takes a child out of its SA's list.
    fn disown_child(&mut self, number: u32) {
        let Some((sa, after)) = self.child(number).map(|c| (c.ike, c.next)) else { return };
        let Some(owner) = self.sas.get_mut(sa as usize) else { return };
        let wanted = number.saturating_add(1);
        if owner.sa.children == wanted {
            owner.sa.children = after;
            return;
        }
        let mut next = owner.sa.children;
        while let Some(c) = next.checked_sub(1).and_then(|n| self.child(n)) {
            if c.next == wanted {
                c.next = after;
                return;
            }
            next = c.next;
        }
    }

    /// Moves all children of one SA to another (RFC 7296 section 2.8).
    pub(crate) fn inherit_children(&mut self, from: u32, to: u32) {
        while let Some(number) = self.sa(from).and_then(|sa| sa.children.checked_sub(1)) {
            self.disown_child(number);
            self.adopt_child(to, number);
            if self.child(number).is_some_and(|c| c.want != 0)
                && let Some(sa) = self.sa(to)
            {
                sa.want |= ike_sa::want::CHILD;
            }
        }
    }

    pub(crate) fn child(&mut self, number: u32) -> Option<&mut Child> {
        self.children
            .get_mut(number as usize)
            .map(|s| &mut s.child)
            .filter(|c| c.state != ChildState::Empty)
    }

    pub(crate) fn child_id(&self, number: u32) -> ChildId {
        let generation = self.children.get(number as usize).map_or(0, |c| c.generation);
        ChildId { slot: number, generation }
    }

    /// The slot of a live handle.
    pub(crate) fn child_number(&self, id: ChildId) -> Option<u32> {
        let slot = self.children.get(id.slot as usize)?;
        let live = slot.generation == id.generation
            && !matches!(slot.child.state, ChildState::Empty | ChildState::Down);
        live.then_some(id.slot)
    }

    /// The child of `sa` that sends on the peer's `spi`.
    pub(crate) fn child_by_outbound(&mut self, sa: u32, spi: u32) -> Option<u32> {
        let mut next = self.sa(sa)?.children;
        while let Some(number) = next.checked_sub(1) {
            let child = self.child(number)?;
            if child.spi_out == spi && child.spi_out != 0 {
                return Some(number);
            }
            next = child.next;
        }
        None
    }

    /// Ends a child. Its SPI is given back, or the caller is told to remove what it installed.
    pub(crate) fn child_down(&mut self, env: &mut Env<'_>, number: u32, reason: DownReason) {
        let Some(child) = self.child(number) else { return };
        if child.state == ChildState::Down {
            return;
        }
        let (installed, spi) = (child.installed, child.spi_in);
        child.state = ChildState::Down;
        child.reason = reason;
        child.want = 0;
        child.tell = child_sa::tell::DOWN;
        self.disown_child(number);
        self.deadlines.set(self.child_node(number), None);
        if installed {
            self.events.push(self.child_node(number));
        } else {
            if let Some(spi) = Spi::new(spi) {
                env.spis.release(spi);
            }
            self.release_child(number);
        }
    }

    /// Gives back a child's slot.
    pub(crate) fn release_child(&mut self, number: u32) {
        if let Some(slot) = self.children.get_mut(number as usize)
            && slot.child.state != ChildState::Empty
        {
            slot.child = Child::EMPTY;
            slot.generation = slot.generation.wrapping_add(1);
            self.free_children.push(number);
        }
    }

    // ---- numbering of what has deadlines and events: SAs, contexts, children ----

    pub(crate) fn context_node(&self, number: u32) -> u32 {
        number.saturating_add(u32::try_from(self.sas.len()).unwrap_or(u32::MAX))
    }

    pub(crate) fn child_node(&self, number: u32) -> u32 {
        let contexts = u32::try_from(self.contexts.len()).unwrap_or(u32::MAX);
        self.context_node(number).saturating_add(contexts)
    }

    pub(crate) fn node(&self, node: u32) -> Node {
        let Some(after_sas) = node.checked_sub(u32::try_from(self.sas.len()).unwrap_or(u32::MAX))
        else {
            return Node::Sa(node);
        };
        match after_sas.checked_sub(u32::try_from(self.contexts.len()).unwrap_or(u32::MAX)) {
            None => Node::Context(after_sas),
            Some(child) => Node::Child(child),
        }
    }

    // ---- commands ----

    /// Brings up a child: first traffic wants it, or somebody at the keyboard. Does nothing while it is under way.
    ///
    /// If there is no IKE SA with the peer, one is made, and the child with it.
    pub fn initiate(&mut self, env: &mut Env<'_>, config: ChildRef) -> Result<(), CommandError> {
        let peer = self.config.peers.get(usize::from(config.peer)).ok_or(CommandError::Unknown)?;
        peer.children.get(usize::from(config.child)).ok_or(CommandError::Unknown)?;
        let mut established = None;
        for number in 0..u32::try_from(self.sas.len()).unwrap_or(u32::MAX) {
            let Some(sa) = self.sa(number).filter(|sa| sa.peer == config.peer) else { continue };
            match sa.state {
                SaState::Established => established = Some(number),
                SaState::Larval if sa.initiator => {
                    let context = sa.ours.checked_sub(1);
                    let same = context
                        .and_then(|c| self.contexts.handshake(c))
                        .is_some_and(|(_, h)| h.child == config);
                    if same {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        match established {
            Some(sa) => self.want_child(env, sa, config),
            None => self.sa_init_begin(env, config),
        }
    }

    /// Replaces a child's keys.
    pub fn rekey_child(&mut self, env: &mut Env<'_>, child: ChildId) -> Result<(), CommandError> {
        let number = self.child_number(child).ok_or(CommandError::Unknown)?;
        self.want_of_child(env, number, child_sa::want::REKEY);
        Ok(())
    }

    /// Deletes a child, on both sides.
    pub fn close_child(&mut self, env: &mut Env<'_>, child: ChildId) -> Result<(), CommandError> {
        let number = self.child_number(child).ok_or(CommandError::Unknown)?;
        if let Some(child) = self.child(number) {
            child.reason = DownReason::Closed;
        }
        self.want_of_child(env, number, child_sa::want::DELETE);
        Ok(())
    }

    /// Replaces the keys of an IKE SA.
    pub fn rekey_ike(&mut self, env: &mut Env<'_>, ike: IkeId) -> Result<(), CommandError> {
        let number = self.sa_number(ike).ok_or(CommandError::Unknown)?;
        self.want_of_sa(env, number, ike_sa::want::REKEY);
        Ok(())
    }

    /// Deletes an IKE SA and its children, on both sides.
    pub fn close_ike(&mut self, env: &mut Env<'_>, ike: IkeId) -> Result<(), CommandError> {
        let number = self.sa_number(ike).ok_or(CommandError::Unknown)?;
        if let Some(sa) = self.sa(number) {
            sa.down = DownReason::Closed;
        }
        self.want_of_sa(env, number, ike_sa::want::CLOSE);
        Ok(())
    }

    /// Deletes every IKE SA and its children, on both sides, and gives up every handshake: for a program that ends. Its
    /// cost grows with the number of slots.
    pub fn close_all(&mut self, env: &mut Env<'_>) {
        for number in 0..u32::try_from(self.sas.len()).unwrap_or(u32::MAX) {
            let Some(sa) = self.sa(number) else { continue };
            match sa.state {
                SaState::Established | SaState::Rekeyed => {
                    sa.down = DownReason::Closed;
                    self.want_of_sa(env, number, ike_sa::want::CLOSE);
                }
                // The successor of another SA goes with the exchange that makes it.
                SaState::Larval => {
                    let contexts =
                        [sa.ours, sa.theirs].into_iter().filter_map(|n| n.checked_sub(1));
                    if contexts.into_iter().any(|context| self.contexts.is_handshake(context)) {
                        self.sa_down(env, number, DownReason::Closed);
                    }
                }
                SaState::Empty | SaState::Closing | SaState::Deleted => {}
            }
        }
    }

    /// Whether nothing is left to say to any peer, nor to the caller: no SA but those that linger to repeat their last
    /// response, and no child. Scans; for a program that ends.
    pub fn is_idle(&self) -> bool {
        let quiet = |sa: &IkeSa| match sa.state {
            SaState::Empty => true,
            SaState::Deleted => sa.tell == 0,
            _ => false,
        };
        self.sas.iter().all(|s| quiet(&s.sa))
            && self.children.iter().all(|c| c.child.state == ChildState::Empty)
    }

    /// A limit of bytes, packets or sequence numbers was reached by one of a child's SAs.
    pub fn expired(&mut self, env: &mut Env<'_>, child: ChildId, hard: bool) {
        let Some(number) = self.child_number(child) else { return };
        if hard {
            if let Some(child) = self.child(number) {
                child.reason = DownReason::Expired;
            }
            self.want_of_child(env, number, child_sa::want::DELETE);
        } else {
            self.want_of_child(env, number, child_sa::want::REKEY);
        }
    }

    /// An authenticated packet arrived on a child: its peer is alive.
    pub fn heard(&mut self, now: Instant, child: ChildId) {
        let Some(number) = self.child_number(child) else { return };
        let Some(sa) = self.child(number).map(|c| c.ike) else { return };
        if let Some(sa) = self.sa(sa) {
            sa.heard = sa.heard.max(now);
        }
    }

    /// The newest authenticated packet of a child came from another endpoint. Believed only behind a NAT.
    pub fn peer_moved(&mut self, child: ChildId, remote: Endpoint) {
        let Some(number) = self.child_number(child) else { return };
        let Some(sa) = self.child(number).map(|c| c.ike) else { return };
        self.move_sa(sa, remote);
    }

    /// Moves an SA and its children to another endpoint of the peer, if a NAT is before it (RFC 7296 section 2.23).
    pub(crate) fn move_sa(&mut self, number: u32, remote: Endpoint) {
        let Some(sa) = self.sa(number).filter(|sa| sa.nat_remote && sa.path.remote != remote)
        else {
            return;
        };
        sa.path.remote = remote;
        let mut next = sa.children;
        while let Some(index) = next.checked_sub(1) {
            let Some(child) = self.child(index) else { return };
            next = child.next;
            if child.state == ChildState::Established || child.state == ChildState::Leaving {
                child.tell |= child_sa::tell::MOVED;
                self.events.push(self.child_node(index));
            }
        }
    }

    /// Notes work for an SA, and begins it if nothing is under way.
    pub(crate) fn want_of_sa(&mut self, env: &mut Env<'_>, number: u32, what: u8) {
        if let Some(sa) = self.sa(number) {
            sa.want |= what;
        }
        self.next_task(env, number);
    }

    /// Notes work for a child, and begins it if nothing is under way.
    pub(crate) fn want_of_child(&mut self, env: &mut Env<'_>, number: u32, what: u8) {
        let Some(child) = self.child(number) else { return };
        child.want |= what;
        let sa = child.ike;
        self.want_of_sa(env, sa, ike_sa::want::CHILD);
    }
}

/// Something with deadlines and events.
#[derive(Clone, Copy)]
pub(crate) enum Node {
    Sa(u32),
    Context(u32),
    Child(u32),
}

/// Hands out parts of one slice.
struct Links<'r>(&'r mut [u32]);

impl<'r> Links<'r> {
    fn take(&mut self, len: usize) -> &'r mut [u32] {
        let (taken, rest) =
            core::mem::take(&mut self.0).split_at_mut_checked(len).unwrap_or_default();
        self.0 = rest;
        taken
    }
}

/// A list of all slots.
fn full(links: &mut [u32]) -> SlotList<'_> {
    let slots = u32::try_from(links.len()).unwrap_or(u32::MAX);
    let mut list = SlotList::new(links);
    (0..slots).for_each(|slot| list.push(slot));
    list
}
