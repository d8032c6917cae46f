//! The security policy database (RFC 4301 section 4.4.1): which traffic is protected, passes in clear, or is dropped.

use crate::selector::{Flow, Selectors};

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
}

impl Policy {
    /// Matches nothing: what lent memory is filled with.
    pub const EMPTY: Self = Self { selectors: Selectors::EMPTY, action: Action::Discard };

    /// A policy.
    pub const fn new(selectors: Selectors, action: Action) -> Self {
        Self { selectors, action }
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

/// An ordered list of policies in lent memory. The first that matches counts.
///
/// Traffic that no policy matches is discarded (RFC 4301 section 5.1, RFC 4301 section 5.2).
pub struct Spd<'r> {
    slots: &'r mut [Policy],
    len: usize,
}

impl<'r> Spd<'r> {
    /// An empty database for as many policies as there are slots.
    pub fn new(slots: &'r mut [Policy]) -> Self {
        slots.fill(Policy::EMPTY);
        Self { slots, len: 0 }
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
        self.insert(self.len, policy)
    }

    /// Adds a policy before the one at `index`. Costs as many moves as there are policies behind it.
    ///
    /// # Errors
    /// [`SpdError::Full`], or [`SpdError::NoSuchPolicy`] if `index` is more than the number of policies; nothing has
    /// changed.
    pub fn insert(&mut self, index: usize, policy: Policy) -> Result<(), SpdError> {
        let end = self.len.checked_add(1).filter(|end| *end <= self.slots.len());
        let end = end.ok_or(SpdError::Full)?;
        let tail = self.slots.get_mut(index..end).ok_or(SpdError::NoSuchPolicy)?;
        let mut carried = policy;
        for slot in tail {
            core::mem::swap(slot, &mut carried);
        }
        self.len = end;
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
        Ok(carried)
    }

    /// Removes every policy.
    pub fn clear(&mut self) {
        self.slots.fill(Policy::EMPTY);
        self.len = 0;
    }

    /// The index and the action of the first policy that matches; `None` if none does, which means
    /// [`Action::Discard`].
    pub fn lookup(&self, direction: Direction, flow: &Flow) -> Option<(usize, Action)> {
        let from_here = match direction {
            Direction::Outbound => *flow,
            Direction::Inbound => flow.reversed(),
        };
        let found = self
            .policies()
            .iter()
            .enumerate()
            .find(|(_, policy)| policy.selectors.match_outbound(&from_here));
        found.map(|(index, policy)| (index, policy.action))
    }

    /// What is done with a packet that leaves (RFC 4301 section 5.1).
    pub fn outbound(&self, flow: &Flow) -> Action {
        self.lookup(Direction::Outbound, flow).map_or(Action::Discard, |(_, action)| action)
    }

    /// Whether a packet that arrived in clear may pass (RFC 4301 section 5.2).
    ///
    /// # Errors
    /// Whatever no policy lets bypass is refused, above all what should have been protected.
    pub fn inbound_clear(&self, flow: &Flow) -> Result<(), ClearError> {
        match self.lookup(Direction::Inbound, flow) {
            Some((_, Action::Bypass)) => Ok(()),
            Some((_, Action::Protect(_))) => Err(ClearError::NotProtected),
            Some((_, Action::Discard)) => Err(ClearError::Discard),
            None => Err(ClearError::NoPolicy),
        }
    }
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
    use super::*;
    use crate::selector::{PortRange, TrafficSelector};

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
        assert_eq!(spd.outbound(&udp(1, 2, 53)), Action::Bypass);
        assert_eq!(spd.outbound(&udp(1, 2, 54)), Action::Protect(9));
        assert_eq!(spd.lookup(Direction::Outbound, &udp(3, 2, 54)), Some((2, Action::Discard)));
    }

    #[test]
    fn what_no_policy_matches_is_discarded() {
        // RFC 4301 section 5.1
        let mut memory = [const { Policy::EMPTY }; 2];
        let spd = Spd::new(&mut memory);
        assert_eq!(spd.outbound(&udp(1, 2, 53)), Action::Discard);
        assert_eq!(spd.inbound_clear(&udp(1, 2, 53)), Err(ClearError::NoPolicy));
    }

    #[test]
    fn clear_traffic_that_should_be_protected_is_refused() {
        // RFC 4301 section 5.2
        let mut memory = [const { Policy::EMPTY }; 3];
        let mut spd = Spd::new(&mut memory);
        for policy in policies() {
            spd.push(policy).unwrap();
        }
        assert_eq!(spd.inbound_clear(&udp(2, 1, 40_000)), Err(ClearError::NotProtected));
        assert_eq!(spd.inbound_clear(&udp(3, 1, 40_000)), Err(ClearError::Discard));
        let dns_answer = Flow { source_port: Some(53), ..udp(2, 1, 40_000) };
        assert_eq!(spd.inbound_clear(&dns_answer), Ok(()));
    }

    #[test]
    fn order_is_kept_when_policies_come_and_go() {
        let mut memory = [const { Policy::EMPTY }; 4];
        let mut spd = Spd::new(&mut memory);
        let [a, b, c] = policies();
        spd.push(c.clone()).unwrap();
        spd.insert(0, a.clone()).unwrap();
        spd.insert(1, b.clone()).unwrap();
        assert_eq!(spd.policies(), [a.clone(), b.clone(), c.clone()]);
        assert_eq!(spd.insert(9, b.clone()), Err(SpdError::NoSuchPolicy));
        assert_eq!(spd.remove(1), Ok(b));
        assert_eq!(spd.policies(), [a, c]);
        assert_eq!(spd.remove(2), Err(SpdError::NoSuchPolicy));
        spd.clear();
        assert!(spd.policies().is_empty());
    }
}
