//! The security policy database (RFC 4301 section 4.4.1): which traffic is protected, passes in clear, or is dropped.

use crate::selector::{
    ANY_PROTOCOL, DscpSet, Flow, FromPacket, PortRange, Selectors, TrafficSelector,
};
use crate::wire::flow::is_extension;
use crate::wire::{Fragment, IpPacket};

mod index;

pub use index::IndexEntry;
use index::{Index, left_aligned, low_bits, ring_mask};
pub(crate) use index::{mix, mix_wide};

/// What is done with traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Action {
    /// It is dropped.
    #[default]
    Discard = 0,
    /// It passes without protection.
    Bypass,
    /// It is protected. The number is the caller's: it tells which child configuration or SA to use.
    Protect(u32),
}

/// One entry: what is done with the traffic that these selectors match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The traffic, as seen from here: `local` is what this gateway stands for.
    pub selectors: Selectors,
    /// What is done with it.
    pub action: Action,
    /// Of which DSCP the packets that leave must be: policies with equal selectors may so have an SA each (RFC 4301
    /// section 4.1).
    pub dscp: DscpSet,
    /// What an SA for this policy takes from the packet that asks for it.
    pub from_packet: FromPacket,
}

impl Policy {
    /// Matches nothing: what lent memory is filled with.
    pub const EMPTY: Self = Self::new(Selectors::EMPTY, Action::Discard);

    /// A policy for packets of any DSCP, whose SA is for all of this traffic.
    pub const fn new(selectors: Selectors, action: Action) -> Self {
        Self { selectors, action, dscp: DscpSet::ANY, from_packet: FromPacket::NONE }
    }

    /// The selectors of the SA for a packet that leaves and matches (RFC 4301 section 4.4.1.2).
    pub fn sa_selectors(&self, packet: &Flow) -> Selectors {
        self.from_packet.narrow(&self.selectors, packet)
    }
}

/// Which way a packet in clear goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Direction {
    /// From the protected side to the unprotected one.
    Outbound,
    /// From the unprotected side to the protected one.
    Inbound,
}

impl Direction {
    /// The flow of a packet as one that leaves would have it.
    const fn seen_from_here(self, flow: &Flow) -> Flow {
        match self {
            Self::Outbound => *flow,
            Self::Inbound => flow.reversed(),
        }
    }
}

/// Memory for a [`Spd`]. Without an index or a cache it works just the same, at the cost of a look at each policy.
pub struct SpdMemory<'r> {
    /// One for each policy.
    pub policies: &'r mut [Policy],
    /// One for each pair of a local and a remote selector of a policy. If they run out, there is no index.
    pub index: &'r mut [IndexEntry],
    /// Where chains of the index begin: about as many as `index` has; the largest power of two is used.
    pub buckets: &'r mut [u32],
    /// Verdicts on recent flows: the largest power of two is used.
    pub cache: &'r mut [CacheEntry],
}

/// A flow and the policy it met. All zero is unused.
#[derive(Clone, Copy, Debug)]
pub struct CacheEntry {
    flow: Flow,
    /// 0 where no policy asks for it.
    dscp: u8,
    /// The state of the database that the verdict is of; 0 is none.
    epoch: u32,
    /// The policy's number plus one; 0 if there was none.
    policy: u32,
}

impl CacheEntry {
    /// Unused.
    pub const EMPTY: Self = Self { flow: Flow::UNSPECIFIED, dscp: 0, epoch: 0, policy: 0 };
}

/// An ordered list of policies in lent memory. The first that matches counts.
///
/// Traffic that no policy matches is discarded (RFC 4301 section 5.1 and section 5.2).
///
/// With an index, a look-up costs one hash for each pair of prefix lengths that the policies use, and a look at the
/// policies of the same networks, however many others there are. With a cache, a flow seen before costs one hash and one
/// comparison. Adding a policy at the end costs its own place in the index; any other change rebuilds it.
pub struct Spd<'r> {
    slots: &'r mut [Policy],
    len: usize,
    index: Index<'r>,
    cache: &'r mut [CacheEntry],
    epoch: u32,
    /// Whether a policy asks for a DSCP.
    by_dscp: bool,
}

impl<'r> Spd<'r> {
    /// An empty database for as many policies as there are slots, without index and cache.
    pub fn new(slots: &'r mut [Policy]) -> Self {
        Self::with_index(SpdMemory {
            policies: slots,
            index: &mut [],
            buckets: &mut [],
            cache: &mut [],
        })
    }

    /// An empty database.
    pub fn with_index(memory: SpdMemory<'r>) -> Self {
        let SpdMemory { policies, index, buckets, cache } = memory;
        policies.fill(Policy::EMPTY);
        cache.fill(CacheEntry::EMPTY);
        let index = Index::new(index, buckets);
        let mut spd = Self { slots: policies, len: 0, index, cache, epoch: 1, by_dscp: false };
        spd.index.clear();
        spd
    }

    /// The policies, in order.
    pub fn policies(&self) -> &[Policy] {
        self.slots.get(..self.len).unwrap_or_default()
    }

    /// How many policies fit.
    pub const fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Adds a policy behind all others.
    ///
    /// # Errors
    /// [`SpdError::Full`]; nothing has changed.
    pub fn push(&mut self, policy: Policy) -> Result<(), SpdError> {
        let slot = self.slots.get_mut(self.len).ok_or(SpdError::Full)?;
        self.index.add(self.len, &policy.selectors);
        self.by_dscp |= !policy.dscp.is_any();
        *slot = policy;
        self.len = self.len.saturating_add(1);
        self.forget_flows();
        Ok(())
    }

    /// Adds a policy before the one at `index`. Costs as many moves as there are policies behind it.
    ///
    /// # Errors
    /// [`SpdError::Full`], or [`SpdError::NoSuchPolicy`] if `index` is more than the number of policies; nothing has
    /// changed.
    pub fn insert(&mut self, index: usize, policy: Policy) -> Result<(), SpdError> {
        let end = self.len.checked_add(1).filter(|end| *end <= self.slots.len());
        let end = end.ok_or(SpdError::Full)?;
        let tail = self.slots.get_mut(index..end).filter(|tail| !tail.is_empty());
        let mut carried = policy;
        for slot in tail.ok_or(SpdError::NoSuchPolicy)? {
            core::mem::swap(slot, &mut carried);
        }
        self.len = end;
        self.rebuild();
        Ok(())
    }

    /// Removes and gives back the policy at `index`.
    ///
    /// # Errors
    /// [`SpdError::NoSuchPolicy`]; nothing has changed.
    pub fn remove(&mut self, index: usize) -> Result<Policy, SpdError> {
        let tail = self.slots.get_mut(index..self.len).filter(|tail| !tail.is_empty());
        let mut carried = Policy::EMPTY;
        for slot in tail.ok_or(SpdError::NoSuchPolicy)?.iter_mut().rev() {
            core::mem::swap(slot, &mut carried);
        }
        self.len = self.len.saturating_sub(1);
        self.rebuild();
        Ok(carried)
    }

    /// Removes every policy.
    pub fn clear(&mut self) {
        self.slots.fill(Policy::EMPTY);
        self.len = 0;
        self.rebuild();
    }

    fn rebuild(&mut self) {
        self.index.clear();
        self.by_dscp = false;
        for (number, policy) in self.slots.get(..self.len).unwrap_or_default().iter().enumerate() {
            self.index.add(number, &policy.selectors);
            self.by_dscp |= !policy.dscp.is_any();
        }
        self.forget_flows();
    }

    fn forget_flows(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            // What was noted 2^32 changes ago must not come to life again.
            self.cache.fill(CacheEntry::EMPTY);
            self.epoch = 1;
        }
    }

    /// The index and the action of the first policy whose selectors match; `None` if none does, which means
    /// [`Action::Discard`]. For reports: it knows neither DSCP nor fragments. Whoever has a packet asks
    /// [`Spd::lookup_packet`].
    pub fn lookup(&self, direction: Direction, flow: &Flow) -> Option<(usize, Action)> {
        match direction {
            Direction::Outbound => self.find(flow, None),
            Direction::Inbound => self.find(&flow.reversed(), None),
        }
    }

    /// The same as [`Spd::lookup`], and remembers the verdict for the next time.
    pub fn lookup_cached(&mut self, direction: Direction, flow: &Flow) -> Option<(usize, Action)> {
        self.find_cached(&direction.seen_from_here(flow), None)
    }

    /// The index and the action of the policy for a packet: the one way to ask where packets may be fragments, or
    /// where policies differ in DSCP. Otherwise the same as [`Spd::lookup_cached`].
    ///
    /// `flow` is [`IpPacket::flow`], or, for a fragment after the first, the one that a
    /// [`FragmentTable`](crate::fragments::FragmentTable) made of it (stateful fragment checking, RFC 4301 section 7.4).
    ///
    /// Where the ports of such a fragment are not known, it must not pass in clear because of a policy for any port, if
    /// a policy before that one protects some of its ports: then that one is given. So for such a fragment
    /// [`Action::Protect`] may come with a policy whose selectors do not match: it is to be dropped. Only these cost
    /// a look at each policy.
    pub fn lookup_packet(
        &mut self,
        direction: Direction,
        packet: &IpPacket,
        flow: &Flow,
    ) -> Option<(usize, Action)> {
        let flow = direction.seen_from_here(flow);
        let dscp = match direction {
            Direction::Outbound => Some(packet.traffic_class >> 2),
            // RFC 4301 section 4.4.2.1: not checked.
            Direction::Inbound => None,
        };
        let found = self.find_cached(&flow, dscp)?;
        let blind = packet.fragment == Fragment::Later && flow.source_port.is_none();
        if blind && found.1 == Action::Bypass {
            let before = self.policies().get(..found.0).unwrap_or_default();
            let protects = |policy: &Policy| {
                matches!(policy.action, Action::Protect(_))
                    && match_any_port(&policy.selectors, &flow)
            };
            if let Some((number, policy)) = before.iter().enumerate().find(|(_, p)| protects(p)) {
                return Some((number, policy.action));
            }
        }
        Some(found)
    }

    /// `flow` as one that leaves would have it.
    fn find_cached(&mut self, flow: &Flow, dscp: Option<u8>) -> Option<(usize, Action)> {
        if self.cache.is_empty() || self.len <= FEW {
            return self.find(flow, dscp);
        }
        let asked = dscp.filter(|_| self.by_dscp);
        let remembered = asked.map_or(0, |dscp| dscp | 0x80);
        let mask = ring_mask(self.cache.len());
        let place = low_bits(hash_of(flow), mask);
        let policy = match self.cache.get(place) {
            Some(entry)
                if entry.epoch == self.epoch && entry.flow == *flow && entry.dscp == remembered =>
            {
                entry.policy
            }
            _ => {
                let found =
                    self.find(flow, dscp).and_then(|(number, _)| u32::try_from(number).ok());
                let policy = found.map_or(0, |number| number.saturating_add(1));
                if let Some(entry) = self.cache.get_mut(place) {
                    *entry =
                        CacheEntry { flow: *flow, dscp: remembered, epoch: self.epoch, policy };
                }
                policy
            }
        };
        let number = policy.checked_sub(1)? as usize;
        self.policies().get(number).map(|policy| (number, policy.action))
    }

    /// The first policy that a packet, as seen from here, meets. Without a DSCP, that does not count.
    fn find(&self, flow: &Flow, dscp: Option<u8>) -> Option<(usize, Action)> {
        let matches = |number: usize| {
            self.policies().get(number).is_some_and(|p| {
                dscp.is_none_or(|dscp| p.dscp.contains(dscp)) && p.selectors.match_outbound(flow)
            })
        };
        let number = if self.index.is_complete() {
            self.index.first(flow, matches)
        } else {
            (0..self.len).find(|number| matches(*number))
        };
        number.and_then(|number| Some((number, self.policies().get(number)?.action)))
    }

    /// Whether a packet that arrived in clear may pass (RFC 4301 section 5.2). `flow` is as for [`Spd::lookup_packet`].
    ///
    /// # Errors
    /// Whatever no policy lets bypass is refused, above all what should have been protected.
    pub fn inbound_clear_packet(
        &mut self,
        packet: &IpPacket,
        flow: &Flow,
    ) -> Result<(), ClearError> {
        match self.lookup_packet(Direction::Inbound, packet, flow) {
            Some((_, Action::Bypass)) => Ok(()),
            Some((_, Action::Protect(_))) => Err(ClearError::NotProtected),
            Some((_, Action::Discard)) => Err(ClearError::Discard),
            None => Err(ClearError::NoPolicy),
        }
    }
}

/// Whether a fragment that leaves would match with other ports; and with another protocol, where an extension header of IPv6
/// hides the true one.
fn match_any_port(selectors: &Selectors, flow: &Flow) -> bool {
    let hidden = flow.source.is_ipv6() && is_extension(flow.protocol);
    let end = |list: &[TrafficSelector], address| {
        let any = |ts: &TrafficSelector| TrafficSelector {
            ports: PortRange::ANY,
            protocol: if hidden { ANY_PROTOCOL } else { ts.protocol },
            ..*ts
        };
        list.iter().any(|ts| any(ts).contains(address, flow.protocol, None))
    };
    end(&selectors.local, flow.source) && end(&selectors.remote, flow.destination)
}

/// So many policies are compared with a flow as fast as it is remembered.
const FEW: usize = 8;

fn hash_of(flow: &Flow) -> u64 {
    let (_, source) = left_aligned(flow.source);
    let (_, destination) = left_aligned(flow.destination);
    let port = |port: Option<u16>| port.map_or(0, |p| u64::from(p) | 1 << 16);
    let rest =
        u64::from(flow.protocol) << 40 | port(flow.source_port) << 20 | port(flow.destination_port);
    mix(mix_wide(mix_wide(0, source), destination), rest)
}

/// Why the database was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SpdError {
    /// Capacity: every slot is used.
    Full,
    /// Local: no policy has this index.
    NoSuchPolicy,
}

impl core::fmt::Display for SpdError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Full => "every policy slot is used",
            Self::NoSuchPolicy => "no policy has this index",
        })
    }
}

impl core::error::Error for SpdError {}

/// Why a packet that arrived in clear is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ClearError {
    /// Peer: policy wants this traffic protected.
    NotProtected,
    /// Local: policy says to drop it.
    Discard,
    /// Local: no policy is about this traffic.
    NoPolicy,
}

impl core::fmt::Display for ClearError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NotProtected => "arrived in clear, but policy wants it protected",
            Self::Discard => "policy discards it",
            Self::NoPolicy => "no policy matches",
        })
    }
}

impl core::error::Error for ClearError {}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;
    use crate::selector::{AddressRange, PortRange, TrafficSelector};

    fn net(third: u8, prefix: u8) -> TrafficSelector {
        TrafficSelector::network([192, 168, third, 0].into(), prefix).unwrap()
    }

    fn udp(from: u8, to: u8, port: u16) -> Flow {
        Flow {
            source: [192, 168, from, 7].into(),
            destination: [192, 168, to, 8].into(),
            protocol: 17,
            source_port: Some(40_000),
            destination_port: Some(port),
        }
    }

    fn policies() -> [Policy; 3] {
        let dns = TrafficSelector { protocol: 17, ports: PortRange::single(53), ..net(2, 24) };
        [
            Policy::new(Selectors::pair(net(1, 24), dns), Action::Bypass),
            Policy::new(Selectors::pair(net(1, 24), net(2, 24)), Action::Protect(9)),
            Policy::new(Selectors::pair(net(0, 16), net(0, 16)), Action::Discard),
        ]
    }

    #[test]
    fn the_first_match_counts() {
        let mut memory = [const { Policy::EMPTY }; 3];
        let mut spd = Spd::new(&mut memory);
        for policy in policies() {
            spd.push(policy).unwrap();
        }
        assert_eq!(spd.push(Policy::EMPTY), Err(SpdError::Full));
        assert_eq!(spd.lookup(Direction::Outbound, &udp(1, 2, 53)), Some((0, Action::Bypass)));
        assert_eq!(spd.lookup(Direction::Outbound, &udp(1, 2, 54)), Some((1, Action::Protect(9))));
        assert_eq!(spd.lookup(Direction::Outbound, &udp(3, 2, 54)), Some((2, Action::Discard)));
    }

    /// A packet of a flow, or of a part of it.
    fn packet(flow: Flow, fragment: Fragment, dscp: u8) -> IpPacket {
        let ports = |port: Option<u16>| port.filter(|_| fragment != Fragment::Later);
        let (source_port, destination_port) =
            (ports(flow.source_port), ports(flow.destination_port));
        IpPacket {
            flow: Flow { source_port, destination_port, ..flow },
            len: 100,
            upper: 20,
            traffic_class: dscp << 2,
            hop_limit: 64,
            flow_label: 0,
            dont_fragment: false,
            fragment,
            identification: 0,
        }
    }

    #[test]
    fn policies_with_equal_selectors_differ_in_dscp() {
        // RFC 4301 section 4.1, RFC 4301 section 4.4.2.1
        let lans = || Selectors::pair(net(1, 24), net(2, 24));
        let mut memory = [const { Policy::EMPTY }; 12];
        let mut cache = [CacheEntry::EMPTY; 4];
        let (policies, cache) = (&mut memory, &mut cache);
        let mut spd =
            Spd::with_index(SpdMemory { policies, index: &mut [], buckets: &mut [], cache });
        let urgent = DscpSet::of(&[46, 44]);
        spd.push(Policy { dscp: urgent, ..Policy::new(lans(), Action::Protect(1)) }).unwrap();
        spd.push(Policy::new(lans(), Action::Protect(2))).unwrap();
        // Few policies are compared, many remembered.
        for third in 0..2 * 9 {
            let flow = udp(1, 2, 53);
            let outbound = [46, 44, 0, 45].map(|dscp| {
                let packet = packet(flow, Fragment::Whole, dscp);
                spd.lookup_packet(Direction::Outbound, &packet, &flow).unwrap().1
            });
            let [a, b, c, d] = outbound;
            assert_eq!((a, b), (Action::Protect(1), Action::Protect(1)));
            assert_eq!((c, d), (Action::Protect(2), Action::Protect(2)));
            // What arrives is not asked for its DSCP.
            let arrived = packet(flow.reversed(), Fragment::Whole, 0);
            let found = spd.lookup_packet(Direction::Inbound, &arrived, &flow.reversed());
            assert_eq!(found, Some((0, Action::Protect(1))));
            let other = Selectors::pair(net(1, 24), net(100 + third, 24));
            if spd.push(Policy::new(other, Action::Discard)).is_err() {
                assert_eq!(spd.remove(0).unwrap().dscp, urgent);
                let found = spd.lookup_packet(
                    Direction::Outbound,
                    &packet(flow, Fragment::Whole, 46),
                    &flow,
                );
                assert_eq!(found, Some((0, Action::Protect(2))));
                return;
            }
        }
        panic!("there was room for more than twelve policies");
    }

    #[test]
    fn a_fragment_without_ports_does_not_pass_in_clear_around_protection() {
        // RFC 4301 section 7.4
        let secret = TrafficSelector { protocol: 17, ports: PortRange::single(500), ..net(2, 24) };
        let open = TrafficSelector { protocol: 17, ..net(2, 24) };
        let mut memory = [const { Policy::EMPTY }; 3];
        let mut spd = Spd::new(&mut memory);
        spd.push(Policy::new(Selectors::pair(net(1, 24), secret), Action::Protect(4))).unwrap();
        spd.push(Policy::new(Selectors::pair(net(1, 24), open), Action::Bypass)).unwrap();
        let mut verdict = |flow: Flow, known: Flow, fragment| {
            let (out, back) = (packet(flow, fragment, 0), packet(flow.reversed(), fragment, 0));
            let clear = spd.inbound_clear_packet(&back, &known.reversed());
            (spd.lookup_packet(Direction::Outbound, &out, &known).unwrap(), clear)
        };
        let blind = |flow: Flow| Flow { source_port: None, destination_port: None, ..flow };
        let (bypass, protect) = ((1, Action::Bypass), (0, Action::Protect(4)));
        let refused = Err(ClearError::NotProtected);
        let (other, secret) = (udp(1, 2, 53), udp(1, 2, 500));
        for fragment in [Fragment::Whole, Fragment::First] {
            assert_eq!(verdict(other, other, fragment), (bypass, Ok(())));
            assert_eq!(verdict(secret, secret, fragment), (protect, refused));
        }
        // Nobody knows which of the two it belongs to.
        assert_eq!(verdict(other, blind(other), Fragment::Later), (protect, refused));
        // The first fragment was seen.
        assert_eq!(verdict(other, other, Fragment::Later), (bypass, Ok(())));
        assert_eq!(verdict(secret, secret, Fragment::Later), (protect, refused));
        // Policies for other traffic, and protocols without ports, are not in the way.
        let tcp = Flow { protocol: 47, ..blind(other) };
        assert_eq!(
            spd.lookup_packet(Direction::Outbound, &packet(tcp, Fragment::Later, 0), &tcp),
            None
        );
    }

    /// RFC 4301 section 7: a later fragment of IPv6 does not tell its protocol if an extension header comes before that.
    #[test]
    fn a_fragment_without_a_protocol_does_not_pass_in_clear_around_protection() {
        let net = |last: u16| {
            let network = [0x2001, 0xdb8, last, 0, 0, 0, 0, 0];
            TrafficSelector::network(IpAddr::from(network), 48).unwrap()
        };
        let tcp = TrafficSelector { protocol: 6, ..net(2) };
        let mut memory = [const { Policy::EMPTY }; 2];
        let mut spd = Spd::new(&mut memory);
        spd.push(Policy::new(Selectors::pair(net(1), tcp), Action::Protect(4))).unwrap();
        spd.push(Policy::new(Selectors::pair(net(1), net(2)), Action::Bypass)).unwrap();
        for (protocol, protected) in [(60, true), (43, true), (6, true), (17, false)] {
            let flow = Flow {
                source: IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, 1]),
                destination: IpAddr::from([0x2001, 0xdb8, 2, 0, 0, 0, 0, 1]),
                protocol,
                source_port: None,
                destination_port: None,
            };
            let (out, back) = (packet(flow, Fragment::Later, 0), flow.reversed());
            let found = spd.lookup_packet(Direction::Outbound, &out, &flow).unwrap().1;
            let clear = spd.inbound_clear_packet(&packet(back, Fragment::Later, 0), &back);
            let expected = if protected {
                (Action::Protect(4), Err(ClearError::NotProtected))
            } else {
                (Action::Bypass, Ok(()))
            };
            assert_eq!((found, clear), expected, "{protocol}");
        }
    }

    fn clear(spd: &mut Spd<'_>, flow: Flow) -> Result<(), ClearError> {
        spd.inbound_clear_packet(&packet(flow, Fragment::Whole, 0), &flow)
    }

    #[test]
    fn what_no_policy_matches_is_discarded() {
        // RFC 4301 section 5.1
        let mut memory = [const { Policy::EMPTY }; 2];
        let mut spd = Spd::new(&mut memory);
        assert_eq!(spd.lookup(Direction::Outbound, &udp(1, 2, 53)), None);
        assert_eq!(clear(&mut spd, udp(1, 2, 53)), Err(ClearError::NoPolicy));
    }

    #[test]
    fn clear_traffic_that_should_be_protected_is_refused() {
        // RFC 4301 section 5.2
        let mut memory = [const { Policy::EMPTY }; 3];
        let mut spd = Spd::new(&mut memory);
        for policy in policies() {
            spd.push(policy).unwrap();
        }
        assert_eq!(clear(&mut spd, udp(2, 1, 40_000)), Err(ClearError::NotProtected));
        assert_eq!(clear(&mut spd, udp(3, 1, 40_000)), Err(ClearError::Discard));
        let dns_answer = Flow { source_port: Some(53), ..udp(2, 1, 40_000) };
        assert_eq!(clear(&mut spd, dns_answer), Ok(()));
    }

    #[test]
    fn order_is_kept_when_policies_come_and_go() {
        let mut memory = [const { Policy::EMPTY }; 5];
        let mut spd = Spd::new(&mut memory);
        let [a, b, c] = policies();
        spd.push(c.clone()).unwrap();
        spd.insert(0, a.clone()).unwrap();
        spd.insert(1, b.clone()).unwrap();
        assert_eq!(spd.policies(), [a.clone(), b.clone(), c.clone()]);
        for beyond in [4, 9] {
            assert_eq!(spd.insert(beyond, b.clone()), Err(SpdError::NoSuchPolicy));
        }
        assert_eq!(spd.remove(1), Ok(b));
        assert_eq!(spd.policies(), [a, c]);
        assert_eq!(spd.remove(2), Err(SpdError::NoSuchPolicy));
        spd.clear();
        assert!(spd.policies().is_empty());
    }

    #[test]
    fn index_and_cache_find_what_a_look_at_each_policy_finds() {
        extern crate std;
        use std::{vec, vec::Vec};
        let mut random = 7u64;
        let mut next = move |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for round in 0..60 {
            let byte = |n: u64| u8::try_from(n).unwrap();
            let selector = |next: &mut dyn FnMut(u64) -> u64| {
                let address = if next(5) == 0 {
                    IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(byte(next(4)))])
                } else {
                    IpAddr::from([10, 0, byte(next(3)), byte(next(4))])
                };
                let mut ts = match next(3) {
                    0 => TrafficSelector::addresses(AddressRange::host(address)),
                    1 => TrafficSelector::network(address, byte(next(33))).unwrap(),
                    _ => {
                        let end = match address {
                            IpAddr::V4(a) => IpAddr::V4((a.to_bits() + 5).into()),
                            IpAddr::V6(a) => IpAddr::V6((a.to_bits() + 5).into()),
                        };
                        TrafficSelector::addresses(AddressRange::new(address, end).unwrap())
                    }
                };
                if next(3) == 0 {
                    ts.protocol = 17;
                    ts.ports = PortRange::single(u16::from(byte(next(3))));
                }
                ts
            };
            let list: Vec<Policy> = (0..1 + next(40))
                .map(|n| {
                    let mut s = Selectors::pair(selector(&mut next), selector(&mut next));
                    if next(2) == 0 {
                        s.remote.push(selector(&mut next)).unwrap();
                    }
                    Policy::new(s, Action::Protect(u32::try_from(n).unwrap()))
                })
                .collect();
            let (mut a, mut b) = (vec![Policy::EMPTY; 64], vec![Policy::EMPTY; 64]);
            let mut index = vec![IndexEntry::EMPTY; if round % 3 == 0 { 20 } else { 200 }];
            let (mut buckets, mut cache) = (vec![0; 32], vec![CacheEntry::EMPTY; 16]);
            let mut naive = Spd::new(&mut a);
            let mut spd = Spd::with_index(SpdMemory {
                policies: &mut b,
                index: &mut index,
                buckets: &mut buckets,
                cache: &mut cache,
            });
            for policy in list {
                let at = usize::try_from(next(3)).unwrap().min(naive.policies().len());
                naive.insert(at, policy.clone()).unwrap();
                spd.insert(at, policy).unwrap();
            }
            if next(2) == 0 {
                assert_eq!(naive.remove(0), spd.remove(0));
            }
            for _ in 0..400 {
                let v6 = next(5) == 0;
                let mut address = || {
                    if v6 {
                        IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(byte(next(9)))])
                    } else {
                        IpAddr::from([10, 0, byte(next(3)), byte(next(9))])
                    }
                };
                let (source, destination) = (address(), address());
                let port = |n: u64| (n != 0).then(|| u16::from(byte(n - 1)));
                let flow = Flow {
                    source,
                    destination,
                    protocol: if next(2) == 0 { 17 } else { 6 },
                    source_port: port(next(4)),
                    destination_port: port(next(4)),
                };
                for direction in [Direction::Outbound, Direction::Inbound] {
                    let expected = naive.lookup(direction, &flow);
                    assert_eq!(spd.lookup(direction, &flow), expected);
                    assert_eq!(spd.lookup_cached(direction, &flow), expected);
                    assert_eq!(spd.lookup_cached(direction, &flow), expected);
                }
            }
        }
    }

    #[test]
    fn a_change_forgets_what_was_remembered() {
        let (mut memory, mut cache) = ([const { Policy::EMPTY }; 3], [CacheEntry::EMPTY; 4]);
        let mut spd = Spd::with_index(SpdMemory {
            policies: &mut memory,
            index: &mut [],
            buckets: &mut [],
            cache: &mut cache,
        });
        let [dns, all, _] = policies();
        assert_eq!(spd.lookup_cached(Direction::Outbound, &udp(1, 2, 53)), None);
        spd.push(all).unwrap();
        assert_eq!(
            spd.lookup_cached(Direction::Outbound, &udp(1, 2, 53)),
            Some((0, Action::Protect(9)))
        );
        spd.insert(0, dns).unwrap();
        assert_eq!(
            spd.lookup_cached(Direction::Outbound, &udp(1, 2, 53)),
            Some((0, Action::Bypass))
        );
    }
}
