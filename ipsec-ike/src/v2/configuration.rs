//! Configuration payloads in IKE_AUTH: addresses that we ask for, and those that we give (RFC 7296 section 2.19).

use core::net::IpAddr;

use ipsec_core::crypto::Provider;

use super::negotiation::Refusal;
use crate::buffers::BufferId;
use crate::child_sa;
use crate::config::{Ask, Pool};
use crate::engine::Ike;
use crate::event::Failure;
use crate::ike_sa;
use crate::pool::Leased;
use crate::v2::chosen::{Chosen, Unmet};
use crate::wire::{
    Collected, ConfigAttribute, ConfigPayload, ConfigType, MessageWriter, NoRoom, NotifyType,
    Payloads,
};

type Attribute = ConfigAttribute;

impl Ask {
    /// Writes the request, if there is anything to ask for.
    pub(crate) fn write(&self, w: &mut MessageWriter<'_>) -> Result<(), NoRoom> {
        if *self == Self::NOTHING {
            return Ok(());
        }
        w.config(ConfigType::REQUEST, |w| {
            let attributes = [
                (self.ipv4, Attribute::INTERNAL_IP4_ADDRESS),
                (self.ipv4, Attribute::INTERNAL_IP4_NETMASK),
                (self.ipv6, Attribute::INTERNAL_IP6_ADDRESS),
                (self.ipv4 && self.dns, Attribute::INTERNAL_IP4_DNS),
                (self.ipv6 && self.dns, Attribute::INTERNAL_IP6_DNS),
                (self.dns, Attribute::INTERNAL_DNS_DOMAIN),
            ];
            let wanted = attributes.into_iter().filter(|(wanted, _)| *wanted);
            wanted.into_iter().try_for_each(|(_, kind)| w.attribute(kind, &[]))
        })
    }
}

/// Whether there is any, in this image.
pub(crate) const CONFIGURATION: bool = cfg!(feature = "configuration");

/// What an initiator asks for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asks {
    ipv4: bool,
    ipv6: bool,
    dns4: bool,
    dns6: bool,
    domains: bool,
}

impl Asks {
    pub(crate) fn of(collected: &Collected<'_>) -> Self {
        let asked = collected.config.filter(|config| config.kind == ConfigType::REQUEST);
        let request = asked.filter(|_| CONFIGURATION);
        let asks = |kind| request.is_some_and(|config| config.value(kind).is_some());
        Self {
            ipv4: asks(Attribute::INTERNAL_IP4_ADDRESS),
            ipv6: asks(Attribute::INTERNAL_IP6_ADDRESS),
            dns4: asks(Attribute::INTERNAL_IP4_DNS),
            dns6: asks(Attribute::INTERNAL_IP6_DNS),
            domains: asks(Attribute::INTERNAL_DNS_DOMAIN),
        }
    }
}

/// What we give.
pub(crate) struct ConfigReply<'r> {
    pool: &'r Pool<'r>,
    leased: Leased,
    asks: Asks,
}

impl ConfigReply<'_> {
    pub(crate) fn write(&self, w: &mut MessageWriter<'_>) -> Result<(), NoRoom> {
        let Self { pool, leased, asks } = self;
        w.config(ConfigType::REPLY, |w| {
            if let Some(address) = leased.ipv4 {
                w.attribute(Attribute::INTERNAL_IP4_ADDRESS, &[&address.octets()])?;
            }
            if let Some(address) = leased.ipv6 {
                let prefix = [128];
                w.attribute(Attribute::INTERNAL_IP6_ADDRESS, &[&address.octets(), &prefix])?;
            }
            for server in pool.dns {
                match server {
                    IpAddr::V4(a) if asks.dns4 => {
                        w.attribute(Attribute::INTERNAL_IP4_DNS, &[&a.octets()])?;
                    }
                    IpAddr::V6(a) if asks.dns6 => {
                        w.attribute(Attribute::INTERNAL_IP6_DNS, &[&a.octets()])?;
                    }
                    _ => {}
                }
            }
            // RFC 8598 section 3: split DNS, with servers only.
            if asks.domains && (asks.dns4 || asks.dns6) && !pool.dns.is_empty() {
                for domain in pool.domains {
                    w.attribute(Attribute::INTERNAL_DNS_DOMAIN, &[domain.as_bytes()])?;
                }
            }
            Ok(())
        })
    }
}

impl<'r, P: Provider> Ike<'r, P> {
    // ---- client ----

    /// Keeps what the peer, now proven, gives, until the caller has been told.
    pub(crate) fn take_config(&mut self, sa: u32, collected: &Collected<'_>) {
        let Some(body) = collected.config_body().filter(|_| self.asked_config(sa)) else { return };
        let buffer = self.buffers.store(body);
        self.keep_config(sa, buffer);
    }

    /// The same of a message that was parked.
    pub(crate) fn take_parked_config(&mut self, sa: u32, number: u32) {
        if !self.asked_config(sa) {
            return;
        }
        let Some(received) = self.contexts.exchange(number).map(|x| x.received) else { return };
        let Some(mut buffer) = self.buffers.take() else { return self.keep_config(sa, None) };
        let mut len = 0;
        if let Some((from, to)) = self.buffers.pair(received.buffer, buffer) {
            let collected = Collected::collect(Payloads::inner(received.first, from));
            let body = collected.ok().and_then(|c| c.config_body()).unwrap_or_default();
            len = ipsec_core::bytes::copy_prefix(to, body).map_or(0, |_| body.len());
        }
        if len == 0 {
            self.buffers.release(&mut buffer);
            return;
        }
        self.buffers.set_len(buffer, len);
        self.keep_config(sa, Some(buffer));
    }

    fn asked_config(&self, sa: u32) -> bool {
        self.peer_of(sa).is_some_and(|peer| peer.asks_for() != Ask::NOTHING)
    }

    pub(crate) fn keep_config(&mut self, number: u32, buffer: Option<BufferId>) {
        let Some(sa) = self.sa(number) else { return };
        let (peer, path) = (sa.peer, sa.path);
        match buffer {
            Some(buffer) => {
                sa.given = buffer;
                sa.tell |= ike_sa::tell::GIVEN;
                self.events.push(number);
            }
            None => self.refuse(Some(peer), None, path, Failure::NoRoom),
        }
    }

    /// What an SA's peer gave, until it has been told.
    pub(crate) fn given(&self, sa: u32) -> Option<ConfigPayload<'_>> {
        if !CONFIGURATION {
            return None;
        }
        let given = self.sas.get(sa as usize)?.sa.given;
        ConfigPayload::parse(self.buffers.bytes(given)).ok().filter(|c| c.kind == ConfigType::REPLY)
    }

    // ---- server ----

    /// Gives the initiator, now proven, an address if its entry says so, and confines its child to it.
    pub(crate) fn assign(
        &mut self,
        sa: u32,
        identity: u64,
        asks: Asks,
        child: &mut Result<Chosen, Unmet>,
    ) -> Option<ConfigReply<'r>> {
        self.peer_of(sa).filter(|peer| peer.is_assigned())?;
        let Some(pool) = self.config.addresses() else {
            self.confine(sa, child);
            return None;
        };
        let wants = asks.ipv4 && pool.ipv4.is_some() || asks.ipv6 && pool.ipv6.is_some();
        let leased = if wants { self.take_lease(sa, identity) } else { None };
        let Some(leased) = leased else {
            // RFC 7296 section 3.10.1: these are errors of the child alone.
            let (kind, failure) = if wants {
                (NotifyType::INTERNAL_ADDRESS_FAILURE, Failure::NoAddress)
            } else {
                (NotifyType::FAILED_CP_REQUIRED, Failure::AddressNotAsked)
            };
            let refusal = Refusal::new(kind);
            *child = Err(Unmet { refusal, failure: Some(failure), child: None });
            return None;
        };
        let leased = Leased {
            ipv4: leased.ipv4.filter(|_| asks.ipv4),
            ipv6: leased.ipv6.filter(|_| asks.ipv6),
        };
        self.confine(sa, child);
        Some(ConfigReply { pool, leased, asks })
    }

    /// The only addresses that a peer may use if its entry says that we give them: none, before it has one.
    pub(crate) fn confined_to(&self, sa: u32) -> Option<Leased> {
        let assigns = self.peer_of(sa).is_some_and(|peer| peer.is_assigned());
        assigns.then(|| self.leased(sa).unwrap_or_default())
    }

    /// A peer that is given addresses may use no other (RFC 7296 section 2.19).
    pub(crate) fn confine(&self, sa: u32, child: &mut Result<Chosen, Unmet>) {
        let (Some(leased), Ok(chosen)) = (self.confined_to(sa), child.as_mut()) else { return };
        let (theirs, ours) =
            (chosen.selectors.remote.first().copied(), chosen.selectors.local.first().copied());
        chosen.selectors.remote = leased.confine(&chosen.selectors.remote);
        chosen.said &= !child_sa::said::MORE_SELECTORS;
        if chosen.selectors.remote.is_empty() {
            let failure = Some(Failure::NoSelectors { theirs, ours });
            let (refusal, found) = (Refusal::new(NotifyType::TS_UNACCEPTABLE), chosen.child);
            *child = Err(Unmet { refusal, failure, child: Some(found) });
        }
    }
}
