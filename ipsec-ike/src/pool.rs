//! Addresses that we give to peers by configuration payload (RFC 7296 section 2.19): which, and who has them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipsec_core::crypto::Provider;
use ipsec_core::selector::{SelectorList, TrafficSelector};

use crate::config::Pool;
use crate::engine::Ike;
use crate::selectors;

/// Memory for one address, or one of each family, that is given to a peer. All zero is free.
#[derive(Clone, Copy)]
pub struct Lease {
    /// Whose it is, or was last: see [`Ike::file_of`].
    identity: u64,
    taken: bool,
}

impl Lease {
    /// Free, and nobody's.
    pub const EMPTY: Self = Self { identity: 0, taken: false };
}

/// Leases that are looked at for one request.
const SEARCH: usize = 256;

/// An address of each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leased {
    pub(crate) ipv4: Option<Ipv4Addr>,
    pub(crate) ipv6: Option<Ipv6Addr>,
}

impl Leased {
    /// What of `selectors` is about these addresses.
    pub(crate) fn confine(&self, selectors: &[TrafficSelector]) -> SelectorList {
        let of = |address: Option<IpAddr>| {
            address.map(|a| selectors::of_host(selectors, a)).unwrap_or_default()
        };
        let mut list = of(self.ipv4.map(IpAddr::V4));
        for ts in &of(self.ipv6.map(IpAddr::V6)) {
            let _ = list.push(*ts);
        }
        list
    }
}

impl Pool<'_> {
    /// How many leases it is enough for.
    fn len(&self) -> u64 {
        let v4 = |(first, last): (Ipv4Addr, Ipv4Addr)| {
            u64::from(last.to_bits()).saturating_sub(first.to_bits().into()).saturating_add(1)
        };
        let v6 = |(first, last): (Ipv6Addr, Ipv6Addr)| {
            let more = last.to_bits().saturating_sub(first.to_bits());
            u64::try_from(more).unwrap_or(u64::MAX).saturating_add(1)
        };
        self.ipv4.map_or(u64::MAX, v4).min(self.ipv6.map_or(u64::MAX, v6))
    }

    /// The addresses of a lease; `None` if it is behind the end of the pool.
    fn leased(&self, index: u32) -> Option<Leased> {
        let ipv4 = match self.ipv4 {
            None => None,
            Some((first, last)) => {
                let bits = first.to_bits().checked_add(index)?;
                Some(Ipv4Addr::from_bits(bits)).filter(|a| *a <= last)
            }
        };
        let ipv6 = match self.ipv6 {
            None => None,
            Some((first, last)) => {
                let bits = first.to_bits().checked_add(index.into())?;
                Some(Ipv6Addr::from_bits(bits)).filter(|a| a.to_bits() <= last.to_bits())
            }
        };
        let whole = ipv4.is_some() == self.ipv4.is_some() && ipv6.is_some() == self.ipv6.is_some();
        (whole && (ipv4.is_some() || ipv6.is_some())).then_some(Leased { ipv4, ipv6 })
    }
}

impl<P: Provider> Ike<'_, P> {
    /// Takes an address for an SA: the one that its identity had last, if nobody else has it.
    pub(crate) fn take_lease(&mut self, sa: u32, identity: u64) -> Option<Leased> {
        if let Some(leased) = self.leased(sa) {
            return Some(leased);
        }
        let pool = self.config.addresses()?;
        let peer = self.sas.get(sa as usize)?.sa.peer;
        let identity = self.file_of(peer, identity);
        // By the identity: without a division, and not guessed from outside.
        let len =
            usize::try_from(pool.len()).map_or(self.leases.len(), |n| n.min(self.leases.len()));
        let start = usize::try_from((identity >> 32).saturating_mul(len as u64) >> 32).ok()?;
        let all = || (start..len).chain(0..start).take(SEARCH);
        let usable = |index: usize| {
            let lease = self.leases.get(index).filter(|lease| !lease.taken)?;
            let number = u32::try_from(index).ok()?;
            Some((lease.identity, number, pool.leased(number)?))
        };
        let mut first = None;
        for found in all().filter_map(usable) {
            if found.0 == identity {
                first = Some(found);
                break;
            }
            // Nobody's before somebody's.
            if first.is_none_or(|(before, ..)| before != 0 && found.0 == 0) {
                first = Some(found);
            }
        }
        let (_, number, leased) = first?;
        *self.leases.get_mut(number as usize)? = Lease { identity, taken: true };
        self.sa(sa)?.lease = number.saturating_add(1);
        Some(leased)
    }

    /// What an SA's peer was given.
    pub(crate) fn leased(&self, sa: u32) -> Option<Leased> {
        let number = self.sas.get(sa as usize)?.sa.lease.checked_sub(1)?;
        self.config.addresses()?.leased(number)
    }

    /// Frees the address of an SA.
    pub(crate) fn free_lease(&mut self, sa: u32) {
        let Some(slot) = self.sas.get_mut(sa as usize) else { return };
        let number = core::mem::take(&mut slot.sa.lease).checked_sub(1);
        if let Some(lease) = number.and_then(|n| self.leases.get_mut(n as usize)) {
            lease.taken = false;
        }
    }
}
