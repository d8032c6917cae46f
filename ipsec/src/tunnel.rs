//! Tunnels, which are configured, and the pairs of SAs that carry them, which come and go: child SAs, and SAs with manual
//! keys.
//!
//! Each tunnel has a list of its pairs, the one to send on first. A new child goes to the front, or, while the peer
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

/// Memory for one child SA, or one pair of SAs with manual keys. All zero is empty.
pub struct PairSlot {
    pub(crate) owner: Owner,
    pub(crate) tunnel: u32,
    pub(crate) inbound: Option<InboundId>,
    pub(crate) outbound: Option<OutboundId>,
    /// Of a bundle: AH around both.
    #[cfg(feature = "ikev1")]
    pub(crate) inbound_around: Option<InboundId>,
    #[cfg(feature = "ikev1")]
    pub(crate) outbound_around: Option<OutboundId>,
    /// The peer agreed to all that the policy asks for: no packet need be compared with the SA's selectors.
    pub(crate) whole: bool,
    /// It has been announced.
    pub(crate) up: bool,
    /// The peer is ready to receive on it: a packet has arrived, or IKE shows it.
    pub(crate) ready: bool,
    listed: bool,
    previous: u32,
    next: u32,
}

/// SAs of a direction that a pair may have: of a bundle two.
pub(crate) const SAS: usize = if cfg!(feature = "ikev1") { 2 } else { 1 };

impl PairSlot {
    /// No SA.
    pub const EMPTY: Self = Self {
        owner: Owner::None,
        tunnel: 0,
        inbound: None,
        outbound: None,
        #[cfg(feature = "ikev1")]
        inbound_around: None,
        #[cfg(feature = "ikev1")]
        outbound_around: None,
        whole: false,
        up: false,
        ready: false,
        listed: false,
        previous: 0,
        next: 0,
    };
}

impl PairSlot {
    /// The SA to send on whose packets the network sees.
    pub(crate) const fn outermost(&self) -> Option<OutboundId> {
        #[cfg(feature = "ikev1")]
        if self.outbound_around.is_some() {
            return self.outbound_around;
        }
        self.outbound
    }

    /// Its SAs to receive on.
    pub(crate) const fn inbounds(&self) -> [Option<InboundId>; SAS] {
        #[cfg(feature = "ikev1")]
        return [self.inbound, self.inbound_around];
        #[cfg(not(feature = "ikev1"))]
        return [self.inbound];
    }

    /// Its SAs to send on.
    pub(crate) const fn outbounds(&self) -> [Option<OutboundId>; SAS] {
        #[cfg(feature = "ikev1")]
        return [self.outbound, self.outbound_around];
        #[cfg(not(feature = "ikev1"))]
        return [self.outbound];
    }

    /// [`PairSlot::outbounds`], which are not its any more.
    pub(crate) const fn take_outbounds(&mut self) -> [Option<OutboundId>; SAS] {
        let all = self.outbounds();
        self.outbound = None;
        #[cfg(feature = "ikev1")]
        {
            self.outbound_around = None;
        }
        all
    }

    /// The child that it is of.
    pub(crate) const fn child(&self) -> Option<ChildId> {
        match self.owner {
            Owner::Child { id, .. } => Some(id),
            _ => None,
        }
    }

    /// What is known of it if its keys are manual.
    pub(crate) const fn manual(&self) -> Option<&ManualPair> {
        match &self.owner {
            Owner::Manual(manual) => Some(manual),
            _ => None,
        }
    }
}

/// Whose SAs a pair is.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Owner {
    None = 0,
    /// IKE's. `refused` is the SPI of an inbound SA that could not be installed.
    Child {
        id: ChildId,
        refused: Option<Spi>,
    } = 1,
    /// The program's.
    Manual(ManualPair) = 2,
}

/// What is known of a pair of SAs with manual keys.
#[derive(Clone, Copy)]
pub(crate) struct ManualPair {
    pub(crate) generation: u32,
    /// The pair that goes around this one, or that this one goes around, plus one; 0 if there is none.
    pub(crate) other: u32,
    pub(crate) place: Place,
    /// What is to be told: [`SOFT`], [`HARD`].
    due: u8,
    /// The next pair of which there is something to tell, plus one.
    next_due: u32,
}

/// Whether packets of a pair are the program's, or those of another pair.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The program's.
    Inner,
    /// Those of the other pair.
    Around,
}

/// A soft limit is reached, to be told.
pub(crate) const SOFT: u8 = 1;
/// A hard limit is reached, to be told.
pub(crate) const HARD: u8 = 2;

impl ManualPair {
    pub(crate) const fn new(generation: u32, place: Place, other: Option<u32>) -> Self {
        let other = match other {
            Some(number) => number.saturating_add(1),
            None => 0,
        };
        Self { generation, other, place, due: 0, next_due: 0 }
    }
}

/// The SA that a packet goes to, and the one that goes around it.
pub(crate) type Carrier = (OutboundId, Option<OutboundId>);

/// Which SA a packet of a tunnel goes to.
pub(crate) enum Choice {
    /// These.
    Sa(Carrier),
    /// There is one, but the peer did not agree to such packets.
    NotAgreed,
    /// There is none.
    None,
}

/// All tunnels, in the order of the configuration: IKE's, then the manual ones. All pairs: child SAs, by their number in
/// the engine, then the manual ones.
pub(crate) struct Tunnels<'r> {
    slots: &'r mut [TunnelSlot],
    /// Tunnels of IKE.
    len: usize,
    /// All tunnels.
    end: usize,
    pairs: &'r mut [PairSlot],
    /// The number of the first pair that is not IKE's.
    first_manual: u32,
    /// The first pair of which there is something to tell, plus one.
    due: u32,
    /// How many manual pairs there have been.
    generation: u32,
}

impl<'r> Tunnels<'r> {
    /// `children` pairs are for IKE, those behind them for manual keys.
    pub(crate) fn new(
        slots: &'r mut [TunnelSlot],
        pairs: &'r mut [PairSlot],
        children: usize,
    ) -> Self {
        slots.fill_with(|| TunnelSlot::EMPTY);
        pairs.fill_with(|| PairSlot::EMPTY);
        let first_manual = u32::try_from(children).unwrap_or(u32::MAX);
        Self { slots, len: 0, end: 0, pairs, first_manual, due: 0, generation: 0 }
    }

    /// Adds a tunnel of IKE behind the others, before any manual one. Gives its number; `None` if there is no room.
    pub(crate) fn push(&mut self, config: ChildRef) -> Option<u32> {
        let number = self.push_manual()?;
        self.slots.get_mut(number as usize)?.config = config;
        self.len = self.end;
        Some(number)
    }

    /// Adds a tunnel with manual keys behind all others. Gives its number; `None` if there is no room.
    pub(crate) fn push_manual(&mut self) -> Option<u32> {
        let number = u32::try_from(self.end).ok().filter(|_| self.end < self.slots.len())?;
        self.end = self.end.saturating_add(1);
        Some(number)
    }

    /// The tunnels of IKE.
    pub(crate) fn all(&self) -> &[TunnelSlot] {
        self.slots.get(..self.len).unwrap_or_default()
    }

    /// The number of the manual tunnel with this place in the configuration.
    pub(crate) fn manual_number(&self, policy: u16) -> Option<u32> {
        let number = self.len.checked_add(usize::from(policy))?;
        u32::try_from(number).ok().filter(|_| number < self.end)
    }

    /// The place in the configuration of a manual tunnel; `None` if it is one of IKE.
    pub(crate) fn manual_policy(&self, number: u32) -> Option<u16> {
        u16::try_from((number as usize).checked_sub(self.len)?).ok()
    }

    /// The number of a tunnel.
    pub(crate) fn number(&self, config: ChildRef) -> Option<u32> {
        let order = |slot: &TunnelSlot| -> Ordering {
            (slot.config.peer, slot.config.child).cmp(&(config.peer, config.child))
        };
        u32::try_from(self.all().binary_search_by(order).ok()?).ok()
    }

    pub(crate) fn tunnel(&self, number: u32) -> Option<&TunnelSlot> {
        self.slots.get(..self.end)?.get(number as usize)
    }

    pub(crate) fn tunnel_mut(&mut self, number: u32) -> Option<&mut TunnelSlot> {
        self.slots.get_mut(..self.end)?.get_mut(number as usize)
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

    /// The pair with a number.
    pub(crate) fn pair(&self, number: u32) -> Option<&PairSlot> {
        self.pairs.get(number as usize).filter(|pair| !matches!(pair.owner, Owner::None))
    }

    pub(crate) fn pair_mut(&mut self, number: u32) -> Option<&mut PairSlot> {
        self.pairs.get_mut(number as usize).filter(|pair| !matches!(pair.owner, Owner::None))
    }

    /// The child SA with this handle, and its number.
    pub(crate) fn find(&mut self, id: ChildId) -> Option<(u32, &mut PairSlot)> {
        let number = u32::try_from(id.index()).ok()?;
        let pair = self.pair_mut(number).filter(|pair| pair.child() == Some(id))?;
        Some((number, pair))
    }

    /// The child SA with this handle, if it is up.
    pub(crate) fn child(&self, id: ChildId) -> Option<&PairSlot> {
        let pair = self.pair(u32::try_from(id.index()).ok()?)?;
        (pair.child() == Some(id) && pair.up).then_some(pair)
    }

    /// The child SA with this handle, a new one if there is none.
    pub(crate) fn find_or_add(&mut self, id: ChildId) -> Option<&mut PairSlot> {
        let pair = self.pairs.get_mut(id.index())?;
        if matches!(pair.owner, Owner::None) {
            *pair = PairSlot { owner: Owner::Child { id, refused: None }, ..PairSlot::EMPTY };
        }
        (pair.child() == Some(id)).then_some(pair)
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
            if let Some(sas) = self.carrier(sad, pair, flow) {
                return Choice::Sa(sas);
            }
            found = self.after(number);
        }
        Choice::NotAgreed
    }

    /// The SAs of a pair, if the peer agreed to such packets.
    pub(crate) fn carrier<P: Provider>(
        &self,
        sad: &Sad<'_, P>,
        pair: &PairSlot,
        flow: &Flow,
    ) -> Option<Carrier> {
        let agreed = pair.whole
            || pair
                .inbound
                .and_then(|id| sad.inbound(id))
                .is_some_and(|sa| sa.selectors.match_outbound(flow));
        let id = pair.outbound.filter(|_| agreed)?;
        let around = pair.manual().and_then(|manual| self.around(manual));
        #[cfg(feature = "ikev1")]
        let around = around.or(pair.outbound_around);
        Some((id, around))
    }

    /// The SA that goes around what leaves on a pair.
    #[inline(never)]
    fn around(&self, manual: &ManualPair) -> Option<OutboundId> {
        self.pair(manual.other.checked_sub(1)?)?.outbound
    }

    /// A pair for manual keys that is free. Costs a look at each.
    pub(crate) fn free_manual(&self) -> Option<u32> {
        let pairs = (0..).zip(self.pairs.iter()).skip(self.first_manual as usize);
        pairs.filter(|(_, pair)| matches!(pair.owner, Owner::None)).map(|(n, _)| n).next()
    }

    /// Takes a free pair. Gives what tells it from others that were or will be in the same place.
    pub(crate) fn add_manual(
        &mut self,
        number: u32,
        tunnel: u32,
        place: Place,
        other: Option<u32>,
    ) -> Option<&mut PairSlot> {
        self.generation = self.generation.wrapping_add(1);
        let owner = Owner::Manual(ManualPair::new(self.generation, place, other));
        let pair = self.pairs.get_mut(number as usize)?;
        *pair = PairSlot { owner, tunnel, whole: true, up: true, ..PairSlot::EMPTY };
        Some(pair)
    }

    /// Lets one manual pair go around another.
    pub(crate) fn link_manual(&mut self, inner: u32, around: u32) {
        if let Some(PairSlot { owner: Owner::Manual(manual), .. }) = self.pair_mut(inner) {
            manual.other = around.saturating_add(1);
        }
    }

    /// Notes that something is to be told of a manual pair.
    pub(crate) fn note_due(&mut self, number: u32, what: u8) {
        let first = self.due;
        let Some(PairSlot { owner: Owner::Manual(manual), .. }) = self.pair_mut(number) else {
            return;
        };
        let listed = manual.due != 0;
        manual.due |= what;
        if !listed {
            manual.next_due = first;
            self.due = number.saturating_add(1);
        }
    }

    /// Takes the next thing that is to be told of a manual pair: its number, and what.
    pub(crate) fn take_due(&mut self) -> Option<(u32, u8)> {
        let number = self.due.checked_sub(1)?;
        let Some(PairSlot { owner: Owner::Manual(manual), .. }) = self.pair_mut(number) else {
            self.due = 0;
            return None;
        };
        let what = manual.due & manual.due.wrapping_neg();
        manual.due &= !what;
        let next = core::mem::take(&mut manual.next_due);
        if manual.due != 0 {
            manual.next_due = next;
        } else {
            self.due = next;
        }
        Some((number, what))
    }

    /// Forgets what is to be told of a pair. Costs a look at each pair of which there is something to tell.
    fn forget_due(&mut self, number: u32) {
        let Some(manual) = self.pair(number).and_then(PairSlot::manual) else { return };
        let (due, next) = (manual.due, manual.next_due);
        if due == 0 {
            return;
        }
        let link = number.saturating_add(1);
        if self.due == link {
            self.due = next;
            return;
        }
        let mut at = self.due;
        while let Some(before) = at.checked_sub(1) {
            let Some(PairSlot { owner: Owner::Manual(manual), .. }) = self.pair_mut(before) else {
                return;
            };
            at = manual.next_due;
            if at == link {
                manual.next_due = next;
                return;
            }
        }
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

    /// Forgets a pair.
    pub(crate) fn remove(&mut self, number: u32) {
        self.unlist(number);
        self.forget_due(number);
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
