//! Child SAs: a pair of SAs, and what stays of their negotiation.

use crate::config;
use crate::engine::{Env, Ike};
use crate::exchange::{Maybe, Stage};
use crate::ike_sa;
use crate::timer::REPLACED_KEPT;
#[cfg(feature = "ikev1")]
use crate::v1::bundle::BundledAh;
use ipsec_core::crypto::Provider;
use ipsec_core::mode::AddressPair;
use ipsec_core::sa::Spi;
use ipsec_core::selector::Selectors;
use ipsec_core::time::Instant;

use crate::event::{ChildId, ChildRef, DownReason, Traffic};
use crate::keymat::ChildKeys;
use crate::proposal::ChildChoice;
use crate::wire::ProtocolId;

/// Slots that children which only receive a little longer leave free.
const SLOTS_LEFT_FREE: usize = 2;

/// Memory for one child SA. All zero is empty.
pub struct ChildSlot {
    pub(crate) generation: u32,
    pub(crate) child: Child,
}

impl ChildSlot {
    /// No child.
    pub const EMPTY: Self = Self { generation: 0, child: Child::EMPTY };
}

/// Child SAs that a peer may have for each of its tunnels: the one in use and the one that replaces it, and as many again
/// that linger, or that both sides have begun at once.
const CHILDREN_PER_TUNNEL: usize = 4;
/// If the peer asks for new keys, so many times that: each of its children may have one that takes its place. Where it has as
/// many as it may, all of them in use, none would outlive its lifetime otherwise.
const REPLACED: usize = 2;

/// How far a child has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ChildState {
    Empty = 0,
    /// An exchange is making it.
    Larval,
    Established,
    /// Replaced by another one, or being deleted. It still receives.
    Leaving,
    /// Deleted after it was replaced. It receives a little longer, what was on the way.
    Lingering,
    /// Gone; the caller has not been told.
    Down,
}

/// Work that waits until our side has no request under way.
pub(crate) mod want {
    pub(crate) const DELETE: u8 = 1;
    pub(crate) const REKEY: u8 = 2;
    /// A larval child that waits for its CREATE_CHILD_SA.
    pub(crate) const CREATE: u8 = 4;
}

/// What the caller has not been told yet.
pub(crate) mod tell {
    pub(crate) const UP: u8 = 1;
    pub(crate) const MOVED: u8 = 2;
    pub(crate) const DOWN: u8 = 4;
    pub(crate) const LEAVES: u8 = 8;
}

pub(crate) struct Child {
    pub(crate) state: ChildState,
    pub(crate) want: u8,
    pub(crate) tell: u8,
    /// Whether the caller was asked to install something, and so must be told of the end.
    pub(crate) installed: bool,
    pub(crate) config: ChildRef,
    /// The slot of its IKE SA.
    pub(crate) ike: u32,
    /// The next child of the same IKE SA, plus one.
    pub(crate) next: u32,
    /// We receive on it; 0 if there is none yet.
    pub(crate) spi_in: u32,
    /// We send on it; 0 if there is none yet.
    pub(crate) spi_out: u32,
    pub(crate) choice: ChildChoice,
    /// AH around it.
    #[cfg(feature = "ikev1")]
    pub(crate) around: BundledAh,
    /// Of IKEv1: whose traffic it is for, as far as that is compared with others.
    #[cfg(feature = "ikev1")]
    pub(crate) clients: u32,
    pub(crate) encapsulated: bool,
    pub(crate) transport: bool,
    /// The peer does not want TFC padding.
    pub(crate) no_tfc: bool,
    /// The peer wants it to be for one pair of addresses.
    pub(crate) single: bool,
    /// The lower nonce of the exchange that made it, as far as it is compared with others: when both sides have rekeyed
    /// at once, it tells which child stays.
    pub(crate) lower_nonce: [u8; 16],
    pub(crate) traffic: Traffic,
    pub(crate) replaces: Option<ChildId>,
    pub(crate) reason: DownReason,
    pub(crate) rekey_at: Instant,
    pub(crate) expire_at: Instant,
}

impl Child {
    pub(crate) const EMPTY: Self = Self {
        state: ChildState::Empty,
        want: 0,
        tell: 0,
        installed: false,
        config: ChildRef { peer: 0, child: 0 },
        ike: 0,
        next: 0,
        spi_in: 0,
        spi_out: 0,
        choice: ChildChoice::EMPTY,
        #[cfg(feature = "ikev1")]
        around: BundledAh::NONE,
        #[cfg(feature = "ikev1")]
        clients: 0,
        encapsulated: false,
        transport: false,
        no_tfc: false,
        single: false,
        lower_nonce: [0; 16],
        traffic: Traffic::Now,
        replaces: None,
        reason: DownReason::Closed,
        rekey_at: Instant::ZERO,
        expire_at: Instant::ZERO,
    };
}

/// A child while an exchange makes it: what is needed to install it, and no longer.
pub(crate) struct Negotiation {
    /// Its slot, plus one.
    pub(crate) child: u32,
    /// The number of the proposal that was chosen.
    pub(crate) number: u8,
    pub(crate) keys: ChildKeys,
    /// Of AH around it.
    #[cfg(feature = "ikev1")]
    pub(crate) keys_around: ChildKeys,
    pub(crate) selectors: Selectors,
    /// Of our own rekey: the lower nonce of the peer's rekey of the same child, which came up meanwhile; zero if none did.
    pub(crate) rival: [u8; 16],
    /// Of transport mode behind a NAT: the addresses that the peer uses.
    pub(crate) original: Maybe<AddressPair>,
    /// What the responder says of the selectors besides.
    pub(crate) said: u8,
    /// Of our request: an SPI that the peer deleted meanwhile and that we did not know. Its response may be late.
    pub(crate) deleted: u32,
}

/// What a responder's answer says besides, as bits.
pub(crate) mod said {
    /// Other selectors would be possible, too (RFC 7296 section 2.9).
    pub(crate) const MORE_SELECTORS: u8 = 1;
    /// Fragments after the first go through (RFC 7296 section 1.3.1).
    pub(crate) const FRAGMENTS: u8 = 2;
}

impl Negotiation {
    pub(crate) const EMPTY: Self = Self {
        child: 0,
        number: 0,
        keys: ChildKeys::EMPTY,
        #[cfg(feature = "ikev1")]
        keys_around: ChildKeys::EMPTY,
        selectors: Selectors::EMPTY,
        rival: [0; 16],
        original: Maybe::Nothing,
        said: 0,
        deleted: 0,
    };
}

impl<P: Provider> Ike<'_, P> {
    /// Takes a slot for a child of `sa`, in no list of it yet, with an SPI to receive on.
    pub(crate) fn new_child(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        config: ChildRef,
    ) -> Option<u32> {
        let number = self.free_children.first()?;
        let spi = env.spis.reserve(env.rng)?;
        #[cfg(feature = "ikev1")]
        self.gone.forget(spi.get());
        let slot = self.children.get_mut(number as usize)?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.child = Child::EMPTY;
        slot.child.state = ChildState::Larval;
        slot.child.config = config;
        slot.child.spi_in = spi.get();
        slot.child.ike = sa;
        let _ = self.free_children.pop();
        self.adopt_child(sa, number);
        self.set_packet(number, None);
        Some(number)
    }

    /// Whether the peer of `sa` may have one more child, perhaps in another one's place. It has a few for each tunnel, so that
    /// none are taken from others; those that linger go first.
    pub(crate) fn limit_children(&mut self, env: &mut Env<'_>, sa: u32, replaces: bool) -> bool {
        let tunnels = self.peer_of(sa).map_or(0, |peer| {
            let of = |child: &config::Child<'_>| usize::from(child.combinations.max(1));
            peer.children.iter().map(of).fold(0, usize::saturating_add)
        });
        let most = tunnels.saturating_mul(CHILDREN_PER_TUNNEL);
        let most = if replaces { most.saturating_mul(REPLACED) } else { most };
        let of = self.sa(sa).map_or((0, 0), |sa| (sa.peer, sa.identity));
        let file = self.file_of(of.0, of.1);
        for _ in 0..=most {
            let (mut count, mut lingering) = (0usize, None);
            for (_, sa) in self.sas_of(of.0, of.1).filter(|(_, sa)| sa.file == file) {
                let mut next = sa.children;
                while let Some(number) = next.checked_sub(1) {
                    let Some(slot) = self.children.get(number as usize) else { return false };
                    count = count.saturating_add(1);
                    if slot.child.state == ChildState::Lingering {
                        lingering = Some(number);
                    }
                    next = slot.child.next;
                }
            }
            match lingering {
                _ if count < most => return true,
                Some(number) => self.child_down(env, number, DownReason::Rekeyed),
                None => return false,
            }
        }
        false
    }

    /// Puts a child at the head of an SA's list.
    pub(crate) fn adopt_child(&mut self, sa: u32, number: u32) {
        let Some(owner) = self.sas.get_mut(sa as usize) else { return };
        let head = core::mem::replace(&mut owner.sa.children, number.saturating_add(1));
        if let Some(child) = self.child(number) {
            child.ike = sa;
            child.next = head;
        }
    }

    /// Takes a child out of its SA's list.
    pub(crate) fn disown_child(&mut self, number: u32) {
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

    #[inline(never)]
    pub(crate) fn child(&mut self, number: u32) -> Option<&mut Child> {
        self.children
            .get_mut(number as usize)
            .map(|s| &mut s.child)
            .filter(|c| c.state != ChildState::Empty)
    }

    #[inline(never)]
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

    /// The child of `sa` that sends on the peer's `spi` of this protocol: one of the two, of a bundle.
    pub(crate) fn child_by_outbound(
        &mut self,
        sa: u32,
        protocol: ProtocolId,
        spi: u32,
    ) -> Option<u32> {
        let mut next = self.sa(sa)?.children;
        while let Some(number) = next.checked_sub(1) {
            let child = self.child(number)?;
            if child.spi_out == spi && spi != 0 && child.choice.protocol() == protocol {
                return Some(number);
            }
            #[cfg(feature = "ikev1")]
            if child.around.spi_out == spi && spi != 0 && protocol == ProtocolId::AH {
                return Some(number);
            }
            next = child.next;
        }
        None
    }

    /// Ends a child. Its SPI is given back, or the caller is told to remove what it installed.
    pub(crate) fn child_down(&mut self, env: &mut Env<'_>, number: u32, reason: DownReason) {
        #[cfg(feature = "ikev1")]
        self.note_gone(env, number, reason);
        let Some(child) = self.child(number) else { return };
        if child.state == ChildState::Down {
            return;
        }
        let (installed, spi) = (child.installed, child.spi_in);
        child.reason =
            if child.state == ChildState::Lingering { DownReason::Rekeyed } else { reason };
        child.state = ChildState::Down;
        child.want = 0;
        child.tell = tell::DOWN;
        self.forget_child(env, number);
        self.disown_child(number);
        self.deadlines.set(self.child_node(number), None);
        if installed {
            self.events.push(self.child_node(number));
        } else {
            if let Some(spi) = Spi::new(spi) {
                env.spis.release(spi);
            }
            #[cfg(feature = "ikev1")]
            self.release_around(env, number);
            self.release_child(number);
        }
    }

    /// No exchange names a child that is gone: its slot will be another one's, maybe of another peer. One of ours that
    /// was making it ends.
    fn forget_child(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(sa) = self.child(number).map(|c| c.ike) else { return };
        #[cfg(feature = "ikev1")]
        self.v1_forget_child(env, sa, number);
        let Some(contexts) = self.sa(sa).map(|sa| [sa.ours, sa.theirs]) else { return };
        for context in contexts.into_iter().filter_map(|n| n.checked_sub(1)) {
            let Some(x) = self.contexts.get(context) else { continue };
            if x.negotiation.child != number.saturating_add(1) {
                continue;
            }
            x.negotiation = Negotiation::EMPTY;
            if x.ours && matches!(x.stage, Stage::Job | Stage::Install(_)) {
                self.end_exchange(env, context);
                self.schedule_sa(env.now, sa);
            }
        }
    }

    /// Ends a child that another one has replaced: packets that its deletion has overtaken are still received.
    ///
    /// The oldest goes at once where two slots are not left free: a rekey must not wait for it.
    pub(crate) fn child_lingers(&mut self, env: &mut Env<'_>, number: u32) {
        let Some(child) = self.child(number) else { return };
        if child.state == ChildState::Lingering {
            return; // both sides have deleted it
        }
        child.state = ChildState::Lingering;
        child.reason = DownReason::Rekeyed;
        child.want = 0;
        child.spi_out = 0; // the peer may use it again
        #[cfg(feature = "ikev1")]
        {
            child.around.spi_out = 0;
        }
        child.rekey_at = Instant::MAX;
        child.expire_at = env.now.after(REPLACED_KEPT);
        child.tell |= tell::LEAVES;
        let node = self.child_node(number);
        self.events.push(node);
        self.schedule_child(number);
        self.lingering.push(number);
        while self.free_children.len() < SLOTS_LEFT_FREE
            && let Some(oldest) = self.lingering.pop()
        {
            if self.child(oldest).is_some_and(|c| c.state == ChildState::Lingering) {
                self.child_down(env, oldest, DownReason::Rekeyed);
                break;
            }
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
}
