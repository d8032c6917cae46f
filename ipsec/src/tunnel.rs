//! Tunnels, which are configured, and the child SAs that carry them, which come and go.
//!
//! Each tunnel has a list of its child SAs, the one to send on first. A new child goes to the front, or, while the peer
//! may not be ready for it, to the back; it comes to the front with its first packet, or by being the only one left
//! (RFC 7296 section 2.8).

use core::cmp::Ordering;

use ipsec_core::crypto::Provider;
use ipsec_core::sa::Spi;
use ipsec_core::sad::{InboundId, OutboundId, Sad};
use ipsec_core::selector::{Flow, SelectorList, Selectors};
use ipsec_core::time::Instant;
use ipsec_ike::event::{ChildId, ChildRef};

/// Memory for one tunnel. All zero is empty.
pub struct TunnelSlot {
    pub(crate) config: ChildRef,
    /// The child SA to send on, plus one; 0 if there is none.
    first: u32,
    /// The last of its list, plus one.
    last: u32,
    /// Traffic has asked for it, and nothing came of it yet.
    pub(crate) negotiating: bool,
    /// Do not ask again before.
    pub(crate) retry_at: Instant,
}

impl TunnelSlot {
    /// No tunnel.
    pub const EMPTY: Self = Self {
        config: ChildRef { peer: 0, child: 0 },
        first: 0,
        last: 0,
        negotiating: false,
        retry_at: Instant::ZERO,
    };

    fn give_up(&mut self, retry_at: Instant) {
        if core::mem::take(&mut self.negotiating) {
            self.retry_at = retry_at;
        }
    }
}

/// Memory for one child SA. All zero is empty.
pub struct PairSlot {
    pub(crate) id: Option<ChildId>,
    pub(crate) tunnel: u32,
    pub(crate) inbound: Option<InboundId>,
    pub(crate) outbound: Option<OutboundId>,
    /// The SPI of an inbound SA that could not be installed.
    pub(crate) refused: Option<Spi>,
    /// The peer agreed to all that the policy asks for: no packet need be compared with the SA's selectors.
    pub(crate) whole: bool,
    /// It has been announced.
    pub(crate) up: bool,
    /// A packet has arrived on it.
    pub(crate) proven: bool,
    listed: bool,
    previous: u32,
    next: u32,
}

impl PairSlot {
    /// No child SA.
    pub const EMPTY: Self = Self {
        id: None,
        tunnel: 0,
        inbound: None,
        outbound: None,
        refused: None,
        whole: false,
        up: false,
        proven: false,
        listed: false,
        previous: 0,
        next: 0,
    };
}

/// Which SA a packet of a tunnel goes to.
pub(crate) enum Choice {
    /// This one.
    Sa(OutboundId),
    /// There is one, but the peer did not agree to such packets.
    NotAgreed,
    /// There is none.
    None,
}

/// All tunnels, in the order of the configuration, and all child SAs, by their number in the engine.
pub(crate) struct Tunnels<'r> {
    slots: &'r mut [TunnelSlot],
    len: usize,
    pairs: &'r mut [PairSlot],
}

impl<'r> Tunnels<'r> {
    pub(crate) fn new(slots: &'r mut [TunnelSlot], pairs: &'r mut [PairSlot]) -> Self {
        slots.fill_with(|| TunnelSlot::EMPTY);
        pairs.fill_with(|| PairSlot::EMPTY);
        Self { slots, len: 0, pairs }
    }

    /// Adds a tunnel behind all others. Gives its number; `None` if there is no room.
    pub(crate) fn push(&mut self, config: ChildRef) -> Option<u32> {
        let slot = self.slots.get_mut(self.len)?;
        slot.config = config;
        let number = u32::try_from(self.len).ok()?;
        self.len = self.len.saturating_add(1);
        Some(number)
    }

    pub(crate) fn all(&self) -> &[TunnelSlot] {
        self.slots.get(..self.len).unwrap_or_default()
    }

    /// The number of a tunnel.
    pub(crate) fn number(&self, config: ChildRef) -> Option<u32> {
        let order = |slot: &TunnelSlot| -> Ordering {
            (slot.config.peer, slot.config.child).cmp(&(config.peer, config.child))
        };
        u32::try_from(self.all().binary_search_by(order).ok()?).ok()
    }

    pub(crate) fn tunnel(&self, number: u32) -> Option<&TunnelSlot> {
        self.all().get(number as usize)
    }

    pub(crate) fn tunnel_mut(&mut self, number: u32) -> Option<&mut TunnelSlot> {
        self.slots.get_mut(..self.len)?.get_mut(number as usize)
    }

    /// The negotiation of a tunnel, if there is one, has failed.
    pub(crate) fn give_up(&mut self, config: ChildRef, retry_at: Instant) {
        if let Some(slot) = self.number(config).and_then(|number| self.tunnel_mut(number)) {
            slot.give_up(retry_at);
        }
    }

    /// The negotiations of all tunnels of a peer have failed.
    pub(crate) fn give_up_all(&mut self, peer: u16, retry_at: Instant) {
        let first = self.all().partition_point(|slot| slot.config.peer < peer);
        let slots = self.slots.get_mut(first..self.len).unwrap_or_default();
        let slots = slots.iter_mut().take_while(|slot| slot.config.peer == peer);
        slots.for_each(|slot| slot.give_up(retry_at));
    }

    /// The child SA in a slot of the engine.
    pub(crate) fn pair(&self, number: u32) -> Option<&PairSlot> {
        self.pairs.get(number as usize).filter(|pair| pair.id.is_some())
    }

    pub(crate) fn pair_mut(&mut self, number: u32) -> Option<&mut PairSlot> {
        self.pairs.get_mut(number as usize).filter(|pair| pair.id.is_some())
    }

    /// The child SA with this handle, and its number.
    pub(crate) fn find(&mut self, id: ChildId) -> Option<(u32, &mut PairSlot)> {
        let number = u32::try_from(id.index()).ok()?;
        let pair = self.pair_mut(number).filter(|pair| pair.id == Some(id))?;
        Some((number, pair))
    }

    /// The child SA with this handle, a new one if there is none.
    pub(crate) fn find_or_add(&mut self, id: ChildId) -> Option<&mut PairSlot> {
        let pair = self.pairs.get_mut(id.index())?;
        if pair.id.is_none() {
            *pair = PairSlot { id: Some(id), ..PairSlot::EMPTY };
        }
        (pair.id == Some(id)).then_some(pair)
    }

    /// The child SA that a tunnel sends on, and its number.
    pub(crate) fn current(&self, tunnel: u32) -> Option<(u32, &PairSlot)> {
        let number = self.tunnel(tunnel)?.first.checked_sub(1)?;
        Some((number, self.pair(number)?))
    }

    /// The child SA behind another one in its tunnel's list.
    pub(crate) fn after(&self, number: u32) -> Option<(u32, &PairSlot)> {
        let next = self.pair(number)?.next.checked_sub(1)?;
        Some((next, self.pair(next)?))
    }

    /// The first child SA of a tunnel that is for such packets.
    pub(crate) fn choose<P: Provider>(&self, sad: &Sad<'_, P>, tunnel: u32, flow: &Flow) -> Choice {
        let mut found = self.current(tunnel);
        if found.is_none() {
            return Choice::None;
        }
        while let Some((number, pair)) = found {
            let agreed = pair.whole
                || pair
                    .inbound
                    .and_then(|id| sad.inbound(id))
                    .is_some_and(|sa| sa.selectors.match_outbound(flow));
            if let Some(id) = pair.outbound
                && agreed
            {
                return Choice::Sa(id);
            }
            found = self.after(number);
        }
        Choice::NotAgreed
    }

    /// Makes a child SA the one to send on.
    pub(crate) fn put_first(&mut self, number: u32) {
        self.unlist(number);
        let Some(tunnel) = self.pair(number).map(|pair| pair.tunnel) else { return };
        let Some(slot) = self.tunnel_mut(tunnel) else { return };
        let link = number.saturating_add(1);
        let next = core::mem::replace(&mut slot.first, link);
        if slot.last == 0 {
            slot.last = link;
        }
        if let Some(after) = next.checked_sub(1).and_then(|n| self.pair_mut(n)) {
            after.previous = link;
        }
        if let Some(pair) = self.pair_mut(number) {
            (pair.previous, pair.next, pair.listed) = (0, next, true);
        }
    }

    /// Makes a child SA the last one to send on.
    pub(crate) fn put_last(&mut self, number: u32) {
        self.unlist(number);
        let Some(tunnel) = self.pair(number).map(|pair| pair.tunnel) else { return };
        let Some(slot) = self.tunnel_mut(tunnel) else { return };
        let link = number.saturating_add(1);
        let previous = core::mem::replace(&mut slot.last, link);
        if slot.first == 0 {
            slot.first = link;
        }
        if let Some(before) = previous.checked_sub(1).and_then(|n| self.pair_mut(n)) {
            before.next = link;
        }
        if let Some(pair) = self.pair_mut(number) {
            (pair.previous, pair.next, pair.listed) = (previous, 0, true);
        }
    }

    /// Nothing is sent on a child SA any more.
    pub(crate) fn unlist(&mut self, number: u32) {
        let Some(pair) = self.pair_mut(number).filter(|pair| pair.listed) else { return };
        let (tunnel, previous, next) = (pair.tunnel, pair.previous, pair.next);
        (pair.previous, pair.next, pair.listed) = (0, 0, false);
        match previous.checked_sub(1).and_then(|n| self.pair_mut(n)) {
            Some(before) => before.next = next,
            None => {
                if let Some(slot) = self.tunnel_mut(tunnel) {
                    slot.first = next;
                }
            }
        }
        match next.checked_sub(1).and_then(|n| self.pair_mut(n)) {
            Some(after) => after.previous = previous,
            None => {
                if let Some(slot) = self.tunnel_mut(tunnel) {
                    slot.last = previous;
                }
            }
        }
    }

    /// Forgets a child SA.
    pub(crate) fn remove(&mut self, number: u32) {
        self.unlist(number);
        if let Some(pair) = self.pairs.get_mut(number as usize) {
            *pair = PairSlot::EMPTY;
        }
    }
}

/// Whether `agreed` is for every packet that `asked` is for.
pub(crate) fn covers(agreed: &Selectors, asked: &Selectors) -> bool {
    let side = |agreed: &SelectorList, asked: &SelectorList| {
        asked.iter().all(|ts| agreed.iter().any(|a| a.covers(ts)))
    };
    side(&agreed.local, &asked.local) && side(&agreed.remote, &asked.remote)
}
