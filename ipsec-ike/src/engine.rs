//! The engine: slots, contexts, and the calls that a caller makes.
//!
//! What an exchange does is in [`v2`](crate::v2), one file an exchange; here is what all of them share.

use ipsec_core::crypto::Provider;
use ipsec_core::list::{Deadline, Deadlines, SlotList};
use ipsec_core::path::Path;
use ipsec_core::sad::SpiAllocator;
use ipsec_core::selector::Flow;
use ipsec_core::time::Instant;
use rand_core::CryptoRng;

use core::net::IpAddr;

use crate::auth::pad::Directory;
use crate::buffers::{BufferId, Buffers};
use crate::child_sa::{ChildSlot, ChildState};
use crate::config::Config;
use crate::cookie::CookieSecrets;
use crate::event::{ChildId, ChildRef, Failure, IkeId};
use crate::exchange::{Contexts, ExchangeSlot, HandshakeSlot, Stage};
use crate::ike_sa::{IkeSlot, SaState};
use crate::index::HashIndex;
use crate::pool::Lease;
use crate::v2::mobike::{Mobile, PeerAddresses};

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
    /// The largest message, in bytes. With fragments (RFC 7383), some more: each takes about 60 bytes more when sent, and
    /// 4 when received.
    pub buffer_len: usize,
    /// Where a message that came in fragments is put together: as long as the largest one, at most `buffer_len`. If
    /// empty, fragmentation is not offered to peers.
    pub assembly: &'r mut [u8],
    /// [`IkeMemory::links`] words.
    pub links: &'r mut [u32],
    /// One for each slot of `sas`, `handshakes`, `exchanges` and `children`.
    pub deadlines: &'r mut [Deadline],
    /// One for each address of [`Config::pool`] that may be given away; none where there is no pool.
    pub leases: &'r mut [Lease],
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
        5 * sas + 8 * handshakes + 4 * exchanges + 3 * children + 2 * buffers
    }
}

/// A datagram to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Transmit {
    /// From where to where.
    pub path: Path,
    /// Bytes of the buffer that are the UDP payload.
    pub len: usize,
}

/// The IKE engine: all peers, all SAs, both roles.
pub struct Ike<'r, P: Provider> {
    pub(crate) config: Config<'r>,
    pub(crate) directory: Directory<'r>,
    pub(crate) sas: &'r mut [IkeSlot],
    pub(crate) contexts: Contexts<'r, P>,
    pub(crate) children: &'r mut [ChildSlot],
    /// The packets that asked for children, by the number of the child, and then for handshakes. May be empty.
    pub(crate) packets: &'r mut [Flow],
    pub(crate) leases: &'r mut [Lease],
    /// Other addresses of peers, by the number of the SA. May be empty.
    pub(crate) addresses: &'r mut [PeerAddresses],
    pub(crate) buffers: Buffers<'r>,
    /// Where a message that came in fragments is put together. Lent out while that message is handled.
    pub(crate) assembly: &'r mut [u8],
    pub(crate) free_sas: SlotList<'r>,
    pub(crate) free_handshakes: SlotList<'r>,
    /// Numbered from zero, unlike the contexts.
    pub(crate) free_exchanges: SlotList<'r>,
    pub(crate) free_children: SlotList<'r>,
    /// Children that receive a little longer, the oldest first.
    pub(crate) lingering: SlotList<'r>,
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
    /// SAs by their peer: see [`Ike::file_sa`].
    pub(crate) by_peer: HashIndex<'r>,
    pub(crate) half_open_count: usize,
    /// The next handshake that may have to give way.
    #[cfg(feature = "ikev1")]
    pub(crate) crowd_next: u32,
    #[cfg(feature = "ikev1")]
    pub(crate) gone: crate::v1::gone::Gone,
    pub(crate) cookies: CookieSecrets,
    /// The one answer that belongs to no exchange.
    pub(crate) reply: Reply,
    /// The one failure that belongs to no exchange; later ones are lost until it has been told.
    pub(crate) refusal: Option<Refused>,
    pub(crate) slot_mask: u64,
    /// Once MOBIKE is supported.
    pub(crate) mobile: Option<&'static Mobile<P>>,
    /// Our address of the configuration that is gone, and what we have in place of it.
    pub(crate) moved: Option<(IpAddr, IpAddr)>,
}

/// A failure of no exchange.
pub(crate) struct Refused {
    pub(crate) peer: Option<u16>,
    pub(crate) child: Option<ChildRef>,
    pub(crate) path: Path,
    pub(crate) failure: Failure,
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
            assembly,
            links,
            deadlines,
            leases,
        } = memory;
        let (s, h, e, c) = (sas.len(), handshakes.len(), exchanges.len(), children.len());
        let contexts = h.saturating_add(e);
        let mut links = Links(links);
        let buffer_count = buffers.len().checked_div(buffer_len).unwrap_or(0);
        let key = [rng.next_u64(), rng.next_u64()];
        let peer_key = [rng.next_u64(), rng.next_u64()];
        let source_key = [rng.next_u64(), rng.next_u64()];
        let slots = u32::try_from(s).unwrap_or(u32::MAX);
        let mut engine = Self {
            directory: Directory::new(config.peers),
            config,
            free_sas: full(links.take(s)),
            free_handshakes: full(links.take(h)),
            free_exchanges: full(links.take(e)),
            free_children: full(links.take(c)),
            lingering: SlotList::new(links.take(c)),
            transmits: SlotList::new(links.take(contexts.saturating_add(s))),
            jobs: SlotList::new(links.take(contexts)),
            events: SlotList::new(links.take(contexts.saturating_add(s).saturating_add(c))),
            half_open: HashIndex::new(links.take(h), links.take(h), key),
            sources: HashIndex::new(links.take(h), links.take(h), source_key),
            by_peer: HashIndex::new(links.take(s), links.take(s), peer_key),
            buffers: Buffers::new(buffers, buffer_len, links.take(buffer_count.saturating_mul(2))),
            assembly,
            deadlines: Deadlines::new(deadlines),
            slot_mask: u64::from(
                u32::MAX.checked_shr(slots.saturating_sub(1).leading_zeros()).unwrap_or(0),
            ),
            sas,
            contexts: Contexts { handshakes, exchanges },
            children,
            packets: &mut [],
            addresses: &mut [],
            leases,
            half_open_count: 0,
            #[cfg(feature = "ikev1")]
            crowd_next: 0,
            #[cfg(feature = "ikev1")]
            gone: crate::v1::gone::Gone::NONE,
            cookies: CookieSecrets::EMPTY,
            reply: Reply { message: BufferId::NONE, path: Path::UNSPECIFIED },
            refusal: None,
            mobile: None,
            moved: None,
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

    // What has deadlines and events is numbered in one row: SAs, contexts, children.

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
