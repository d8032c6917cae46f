//! Mode Config: addresses in the inner network, which a client asks for, or is told (draft-dukes-ike-mode-cfg-02).
//!
//! ```text
//!       client                                                   server
//!       {HASH, REQUEST(ADDRESS="", DNS="")}               -->                                          pull
//!                                                         <--    {HASH, REPLY(ADDRESS, DNS)}
//!
//!                                                         <--    {HASH, SET(ADDRESS, DNS)}             push
//!       {HASH, ACK(ADDRESS="", DNS="")}                   -->
//! ```
//!
//! Leases, and what is told to the caller, are those of IKEv2's configuration payload. Since IKEv1 narrows nothing, the
//! client itself offers the address that it was given as its side of Quick Mode.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipsec_core::bytes::Writer;
use ipsec_core::crypto::Provider;

use super::transaction::{Access, Transacted};
use crate::config::Pool;
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::Failure;
use crate::ike_sa::SaState;
use crate::pool::Leased;
use crate::wire::v1::{AttributesPayload, AttributesWriter, ConfigAttribute, ConfigType};
use crate::wire::{self, NoRoom};

type Attribute = ConfigAttribute;

/// An address of each family that a peer gave us. All zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inner {
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
}

impl Inner {
    /// None yet.
    pub(crate) const EMPTY: Self =
        Self { ipv4: Ipv4Addr::UNSPECIFIED, ipv6: Ipv6Addr::UNSPECIFIED };

    pub(super) const fn is_empty(&self) -> bool {
        self.ipv4.is_unspecified() && self.ipv6.is_unspecified()
    }

    fn leased(&self) -> Leased {
        Leased {
            ipv4: Some(self.ipv4).filter(|a| !a.is_unspecified()),
            ipv6: Some(self.ipv6).filter(|a| !a.is_unspecified()),
        }
    }

    /// Of what a server gives, what we asked for.
    fn of(given: &AttributesPayload<'_>, asks: &crate::config::Ask) -> Self {
        let v4 = given.value(Attribute::INTERNAL_IP4_ADDRESS).filter(|_| asks.ipv4);
        let v6 = given.value(Attribute::INTERNAL_IP6_ADDRESS).filter(|_| asks.ipv6);
        Self {
            ipv4: v4
                .and_then(|v| <[u8; 4]>::try_from(v).ok())
                .map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from),
            // Some add the length of a prefix, as IKEv2 has it.
            ipv6: v6
                .and_then(|v| v.first_chunk::<16>())
                .map_or(Ipv6Addr::UNSPECIFIED, |octets| Ipv6Addr::from(*octets)),
        }
    }
}

/// What a client asks for, or what is told to it unasked.
#[derive(Clone, Copy)]
struct Wanted {
    ipv4: bool,
    netmask: bool,
    ipv6: bool,
    dns4: bool,
    dns6: bool,
    networks: bool,
}

impl Wanted {
    /// What is told unasked; networks to those who know what they are.
    const fn all(unity: bool) -> Self {
        Self { ipv4: true, netmask: false, ipv6: true, dns4: true, dns6: true, networks: unity }
    }

    fn of(request: &AttributesPayload<'_>) -> Self {
        let asks = |kind| request.value(kind).is_some();
        Self {
            ipv4: asks(Attribute::INTERNAL_IP4_ADDRESS),
            netmask: asks(Attribute::INTERNAL_IP4_NETMASK),
            ipv6: asks(Attribute::INTERNAL_IP6_ADDRESS),
            dns4: asks(Attribute::INTERNAL_IP4_DNS),
            dns6: asks(Attribute::INTERNAL_IP6_DNS),
            networks: asks(Attribute::UNITY_SPLIT_INCLUDE),
        }
    }

    /// Whether a pool has an address for it.
    const fn is_met_by(&self, pool: &Pool<'_>) -> bool {
        self.ipv4 && pool.ipv4.is_some() || self.ipv6 && pool.ipv6.is_some()
    }

    /// Writes what there is of it.
    fn write(
        &self,
        w: &mut AttributesWriter<'_, '_>,
        pool: &Pool<'_>,
        leased: &Leased,
    ) -> Result<(), NoRoom> {
        if let Some(address) = leased.ipv4.filter(|_| self.ipv4) {
            w.long(Attribute::INTERNAL_IP4_ADDRESS.0, &address.octets())?;
            if self.netmask {
                w.long(Attribute::INTERNAL_IP4_NETMASK.0, &[255; 4])?;
            }
        }
        if let Some(address) = leased.ipv6.filter(|_| self.ipv6) {
            w.long(Attribute::INTERNAL_IP6_ADDRESS.0, &address.octets())?;
        }
        if self.networks && !pool.networks.is_empty() {
            let mut all = heapless::Vec::<u8, { MAX_NETWORKS * NETWORK_LEN }>::new();
            for octet in pool.networks.iter().flat_map(split_include) {
                let _ = all.push(octet); // no more than there is room for
            }
            w.long(Attribute::UNITY_SPLIT_INCLUDE.0, &all)?;
        }
        pool.dns.iter().try_for_each(|server| match server {
            IpAddr::V4(a) if self.dns4 => w.long(Attribute::INTERNAL_IP4_DNS.0, &a.octets()),
            IpAddr::V6(a) if self.dns6 => w.long(Attribute::INTERNAL_IP6_DNS.0, &a.octets()),
            _ => Ok(()),
        })
    }
}

impl<P: Provider> Ike<'_, P> {
    // ---- client ----

    /// The addresses that the peer of an SA gave us, if we ask it for some: we use no others inside.
    pub(crate) fn inner_of(&self, sa: u32) -> Option<Leased> {
        let asks = self.peer_of(sa)?.asks_for();
        let phase1 = self.phase1(sa).filter(|_| asks.ipv4 || asks.ipv6)?;
        Some(phase1.inner.leased())
    }

    /// Asks for addresses.
    pub(super) fn config_ask(&mut self, env: &mut Env<'_>, sa: u32) {
        let Some(asks) = self.peer_of(sa).map(|peer| peer.asks_for()) else { return };
        self.transaction_begin(env, sa, Access::AskingConfig, ConfigType::REQUEST, &mut |w| {
            let attributes = [
                (asks.ipv4, Attribute::INTERNAL_IP4_ADDRESS),
                (asks.ipv4, Attribute::INTERNAL_IP4_NETMASK),
                (asks.ipv6, Attribute::INTERNAL_IP6_ADDRESS),
                (asks.ipv4 && asks.dns, Attribute::INTERNAL_IP4_DNS),
                (asks.ipv6 && asks.dns, Attribute::INTERNAL_IP6_DNS),
                (asks.ipv4, Attribute::UNITY_SPLIT_INCLUDE),
            ];
            let wanted = attributes.into_iter().filter(|(wanted, _)| *wanted);
            wanted.into_iter().try_for_each(|(_, kind)| w.long(kind.0, &[]))
        });
    }

    /// The server tells what we have not asked for. Taken only if we wait for it.
    pub(super) fn config_told(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        message: &Transacted<'_>,
    ) -> Result<(), DatagramError> {
        if !matches!(self.access(sa), Access::AwaitingConfig | Access::AskingConfig) {
            return Err(DatagramError::Unexpected);
        }
        let told = message.attributes;
        self.transaction_answer(env, sa, message, ConfigType::ACK, &mut |w| {
            // What was taken, without its value.
            let mut taken = told.attributes.iter().filter(|a| is_taken(a.kind));
            taken.try_for_each(|attribute| w.long(attribute.kind, &[]))
        })?;
        self.config_given(env, sa, &told);
        Ok(())
    }

    /// The server has given us addresses: the SA is up.
    pub(super) fn config_given(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        given: &AttributesPayload<'_>,
    ) {
        let Some(asks) = self.peer_of(sa).map(|peer| peer.asks_for()) else { return };
        let inner = Inner::of(given, &asks);
        if inner == Inner::EMPTY && (asks.ipv4 || asks.ipv6) {
            return self.access_failed(env, sa, Failure::NotConfigured);
        }
        if let Some(phase1) = self.phase1_mut(sa) {
            phase1.inner = inner;
        }
        let buffer = self.buffers.take();
        if let Some(buffer) = buffer {
            let len = rewrite(given, self.buffers.bytes_mut(buffer));
            self.buffers.set_len(buffer, len);
        }
        self.keep_config(sa, buffer);
        self.access_done(env, sa);
    }

    // ---- server ----

    /// A client asks for addresses. It has them for as long as the SA lives.
    pub(super) fn config_asked(
        &mut self,
        env: &mut Env<'_>,
        sa: u32,
        message: &Transacted<'_>,
    ) -> Result<(), DatagramError> {
        if !self.is_up(sa) {
            return Err(DatagramError::Unexpected);
        }
        let wanted = Wanted::of(&message.attributes);
        let leased = self.config_lease(sa, wanted);
        let pool = self.config.addresses();
        self.transaction_answer(
            env,
            sa,
            message,
            ConfigType::REPLY,
            &mut |w| match pool.zip(leased) {
                Some((pool, leased)) => wanted.write(w, pool, &leased),
                None => Ok(()),
            },
        )
    }

    /// Gives a client addresses unasked.
    pub(super) fn config_give(&mut self, env: &mut Env<'_>, sa: u32) {
        let wanted = Wanted::all(self.phase1(sa).is_some_and(|phase1| phase1.unity));
        let (leased, pool) = (self.config_lease(sa, wanted), self.config.addresses());
        let Some((pool, leased)) = pool.zip(leased) else {
            // What is missing has been told.
            return self.access_over(env, sa);
        };
        self.transaction_begin(env, sa, Access::GivingConfig, ConfigType::SET, &mut |w| {
            wanted.write(w, pool, &leased)
        });
    }

    /// The addresses of a client whose entry says that it gets some.
    fn config_lease(&mut self, sa: u32, wanted: Wanted) -> Option<Leased> {
        self.peer_of(sa).filter(|peer| peer.is_assigned())?;
        let pool = self.config.addresses()?;
        let slot = self.sa(sa)?;
        let (index, path, identity) = (slot.peer, slot.path, slot.identity);
        if !wanted.is_met_by(pool) {
            self.refuse(Some(index), None, path, Failure::AddressNotAsked);
            return None;
        }
        self.inherit_lease(sa);
        let leased = self.take_lease(sa, identity);
        if leased.is_none() {
            self.refuse(Some(index), None, path, Failure::NoAddress);
        }
        leased
    }

    /// A new SA of the same client has its addresses.
    pub(super) fn inherit_lease(&mut self, sa: u32) {
        let Some((peer, identity, lease)) = self.sa(sa).map(|sa| (sa.peer, sa.identity, sa.lease))
        else {
            return;
        };
        let old = self.sas_of(peer, identity).find(|(number, old)| {
            let lives = matches!(old.state, SaState::Established | SaState::Rekeyed);
            *number != sa && lives && old.is_v1() && old.identity == identity && old.lease != 0
        });
        let Some((old, _)) = old.filter(|_| lease == 0) else { return };
        let taken = self.sa(old).map_or(0, |old| core::mem::take(&mut old.lease));
        if let Some(sa) = self.sa(sa) {
            sa.lease = taken;
        }
    }
}

/// Whether we do something with an attribute.
fn is_taken(kind: u16) -> bool {
    matches!(
        ConfigAttribute(kind),
        Attribute::INTERNAL_IP4_ADDRESS
            | Attribute::INTERNAL_IP4_NETMASK
            | Attribute::INTERNAL_IP4_DNS
            | Attribute::INTERNAL_IP6_ADDRESS
            | Attribute::INTERNAL_IP6_DNS
            | Attribute::UNITY_SPLIT_INCLUDE
    )
}

/// Networks that are told to one client.
const MAX_NETWORKS: usize = 8;
/// Bytes of a network of UNITY_SPLIT_INCLUDE: address and mask, then protocol and ports, which all are 0 here.
const NETWORK_LEN: usize = 14;

/// A network of UNITY_SPLIT_INCLUDE.
fn split_include((address, len): &(Ipv4Addr, u8)) -> impl Iterator<Item = u8> {
    let mask = u32::MAX.checked_shl(32u32.saturating_sub((*len).into())).unwrap_or(0);
    let network = (address.to_bits() & mask).to_be_bytes();
    network.into_iter().chain(mask.to_be_bytes()).chain([0; NETWORK_LEN - 8])
}

/// Writes what a server gave as IKEv2 has it, whose numbers of these attributes are the same, but for networks. Gives the length;
/// what has no room is left out.
fn rewrite(given: &AttributesPayload<'_>, out: &mut [u8]) -> usize {
    let mut w = Writer::new(out);
    let _ = w.bytes(&[wire::ConfigType::REPLY.0, 0, 0, 0]);
    let mut one = |kind: u16, value: &[u8]| {
        let len = u16::try_from(value.len()).ok()?;
        if w.room().len() < value.len().saturating_add(4) {
            return None;
        }
        w.u16(kind)?;
        w.u16(len)?;
        w.bytes(value)
    };
    for attribute in given.attributes.iter().filter(|a| is_taken(a.kind)) {
        let written = if attribute.kind == Attribute::UNITY_SPLIT_INCLUDE.0 {
            let (networks, _) = attribute.value.as_chunks::<NETWORK_LEN>();
            networks.iter().try_for_each(|[network @ .., _, _, _, _, _, _]| {
                one(wire::ConfigAttribute::INTERNAL_IP4_SUBNET.0, network)
            })
        } else {
            one(attribute.kind, attribute.value)
        };
        if written.is_none() {
            break;
        }
    }
    w.written().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Given;
    use crate::wire::ConfigPayload;

    fn payload(attributes: &[u8]) -> std::vec::Vec<u8> {
        [&[2, 0, 0, 7][..], attributes].concat()
    }

    extern crate std;

    /// Attributes of both forms, known and unknown, of right and of wrong lengths.
    #[test]
    fn what_a_server_gives_is_told_as_ikev2_has_it() {
        let body = payload(&[
            0, 1, 0, 4, 10, 3, 0, 1, // address
            0x80, 5, 0, 60, // expiry, short
            0, 2, 0, 4, 255, 255, 255, 0, // netmask
            0x70, 0, 0, 2, b'h', b'i', // banner
            0, 3, 0, 4, 10, 3, 0, 53, // DNS
            0, 3, 0, 3, 1, 2, 3, // cut DNS
        ]);
        let given = AttributesPayload::parse(&body).unwrap();
        let mut out = [0; 64];
        let len = rewrite(&given, &mut out);
        let told = Given::of(&ConfigPayload::parse(&out[..len]).unwrap());
        assert_eq!(told.ipv4, Some(Ipv4Addr::new(10, 3, 0, 1)));
        assert_eq!(told.netmask, Some(Ipv4Addr::new(255, 255, 255, 0)));
        assert_eq!(told.dns[..], [IpAddr::from([10, 3, 0, 53])]);
        // Whatever the room, what comes out can be read.
        for room in 4..64 {
            let len = rewrite(&given, &mut out[..room]);
            assert!(ConfigPayload::parse(&out[..len]).is_ok());
        }
    }

    /// What libreswan 4.10 gives, and what nobody should: a mask with holes, too many, a part of one.
    #[test]
    fn networks_of_cisco_unity() {
        let told = |value: &[u8]| {
            let head =
                [&[0x70, 4][..], &u16::try_from(value.len()).unwrap().to_be_bytes()].concat();
            let body = payload(&[&head, value].concat());
            let given = AttributesPayload::parse(&body).unwrap();
            let mut out = [0; 1024];
            let len = rewrite(&given, &mut out);
            Given::of(&ConfigPayload::parse(&out[..len]).unwrap()).networks
        };
        let libreswan = [192, 168, 2, 0, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0];
        let network = (Ipv4Addr::new(192, 168, 2, 0), 24);
        assert_eq!(told(&libreswan)[..], [network]);
        assert_eq!(split_include(&network).collect::<std::vec::Vec<_>>(), libreswan);
        assert_eq!(told(&libreswan.repeat(20)).len(), 8);
        assert_eq!(told(&[&libreswan[..], &[1; 13]].concat())[..], [network]);
        assert_eq!(told(&[10, 1, 2, 3, 255, 0, 255, 0, 0, 0, 0, 0, 0, 0]).len(), 0);
        let all = (Ipv4Addr::UNSPECIFIED, 0);
        assert_eq!(told(&split_include(&all).collect::<std::vec::Vec<_>>())[..], [all]);
    }

    #[test]
    fn only_addresses_that_were_asked_for_are_taken() {
        use crate::config::Ask;
        let v6 = [&[0, 8, 0, 16][..], &[0xfd; 16]].concat();
        let body = payload(&[&[0, 1, 0, 4, 10, 3, 0, 1][..], &v6].concat());
        let given = AttributesPayload::parse(&body).unwrap();
        let both = Ask { ipv4: true, ipv6: true, dns: false };
        let inner = Inner::of(&given, &both).leased();
        assert!(inner.ipv4.is_some() && inner.ipv6.is_some());
        let inner = Inner::of(&given, &Ask { ipv6: false, ..both }).leased();
        assert!(inner.ipv4.is_some() && inner.ipv6.is_none());
        for bad in
            [&[0, 1, 0, 3, 1, 2, 3][..], &[0, 1, 0, 0], &[0x80, 1, 1, 2], &[0, 1, 0, 4, 0, 0, 0, 0]]
        {
            let body = payload(bad);
            let given = AttributesPayload::parse(&body).unwrap();
            assert_eq!(Inner::of(&given, &both), Inner::EMPTY);
        }
    }
}
