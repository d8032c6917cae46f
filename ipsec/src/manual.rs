//! Manual keys: SAs that the program installs and removes, without IKE (RFC 4301 section 4.5.1).
//!
//! What they protect is configured, as policies ([`GatewayConfig::manual`](crate::GatewayConfig::manual)): from the beginning
//! on, such traffic passes only while there are keys for it. To change keys without a gap, let both sides install the
//! new inbound SA, then let both install the new outbound SA, which is used at once; then remove the old ones.

use ipsec_core::crypto::Provider;
use ipsec_core::lifetime::{Lifetime, Usage};
use ipsec_core::mode::Mode;
use ipsec_core::path::Path;
use ipsec_core::sa::{Algorithms, Encapsulation, SaParams, Spi};
use ipsec_core::sad::{FoundBy, InboundId, InstallError, OutboundId, SadEventKind};
use ipsec_core::selector::Selectors;
use ipsec_core::spd::{Action, Policy};
use ipsec_core::time::Instant;
use ipsec_esp::{Opened, Overhead};
use ipsec_ike::event::Direction;

use crate::event::GatewayEvent;
use crate::gateway::{Gateway, SetupError};
use crate::inbound::{InboundError, Received, Via};
use crate::nested::{self, audit};
use crate::tunnel::{HARD, PairSlot, Place, SOFT};

/// SAs with manual keys: usually two, one to send on and one to receive on.
///
/// Algorithms that need a nonce, which are all but CBC and NULL with an HMAC, become worthless if two packets are ever
/// sealed with the same key and number; RFC 4106 section 2 and others forbid them with manual keys for this reason. A
/// program that starts again with the same keys must say in [`Manual::sequence`] what may have been used. The receiver's
/// anti-replay window starts afresh too, so that old packets may be repeated to it.
#[derive(Clone)]
pub struct Manual<'k> {
    /// What of a packet is protected, and the header policy of a tunnel.
    pub mode: Mode,
    /// Outer addresses, ours first; with [`Encapsulation::Udp`] the ports as well. A peer that moves is not followed.
    pub path: Path,
    /// How the packets travel.
    pub encapsulation: Encapsulation,
    /// Extended sequence numbers.
    pub esn: bool,
    /// Size of the anti-replay window, in packets. 0 turns it off, for a sender whose numbers begin again when it starts
    /// again (RFC 4303 section 3.3.3); ESN does not allow that.
    pub replay_window: u32,
    /// Soft and hard limits of each SA. [`GatewayEvent::ManualLimit`] tells when one is reached.
    pub lifetime: Lifetime,
    /// The last sequence number that may have been sent with these keys: 0 for new keys.
    pub sequence: u64,
    /// ESP or AH, and the keys.
    pub sas: ManualSas<'k>,
    /// A second protection around the first one, in transport mode: AH around ESP, for one. It has the same path, ESN,
    /// window and lifetime. Not with UDP.
    pub around: Option<ManualSas<'k>>,
}

/// The algorithms and keys of one protection, for one direction or both.
#[derive(Clone)]
pub struct ManualSas<'k> {
    /// ESP or AH, and the algorithms.
    pub protection: Algorithms,
    /// Of the SA to receive on.
    pub inbound: Option<ManualKey<'k>>,
    /// Of the SA to send on.
    pub outbound: Option<ManualKey<'k>>,
}

/// SPI and key of one SA. The key stays with the caller, who wipes it.
#[derive(Clone, Copy)]
pub struct ManualKey<'k> {
    /// Agreed with the peer. Of an SA to receive on, no other SA of the same protocol may have it. It should be random:
    /// whoever guesses that of an SA to send on may lower its path MTU
    /// ([`Gateway::handle_too_big`](crate::Gateway::handle_too_big)).
    pub spi: Spi,
    /// Key, salt and integrity key, in this order: exactly [`Algorithms::keymat_len`] bytes.
    pub keymat: &'k [u8],
}

/// Names SAs that were installed together. Harmless once they are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ManualId {
    number: u32,
    generation: u32,
}

/// How SAs with manual keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ManualReport {
    /// The place in the configuration of the policy that they are for.
    pub policy: u16,
    /// Packets and bytes sent.
    pub sent: (u64, u64),
    /// Packets and bytes received.
    pub received: (u64, u64),
    /// The last sequence number sent: what a program keeps, with something to spare, to give it as [`Manual::sequence`]
    /// when it starts again.
    pub sequence: u64,
}

/// Why SAs with manual keys were not installed. Then nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ManualError {
    /// Local: there is no such policy in [`GatewayConfig::manual`](crate::GatewayConfig::manual).
    Policy,
    /// Local: there is neither an SA to send on nor one to receive on.
    Nothing,
    /// Local: the addresses of the path are of different IP versions, or a UDP port is 0.
    Path,
    /// Local: the protection around the other one is not for the same directions, or the other one is in UDP.
    Around,
    /// Capacity: the memory has no room for another pair ([`Sizes::manual`](crate::Sizes::manual)).
    Full,
    /// The SA of this direction was refused.
    Sa(Direction, InstallError),
}

impl core::fmt::Display for ManualError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Policy => f.write_str("no such policy for manual keys"),
            Self::Nothing => f.write_str("no key in either direction"),
            Self::Path => f.write_str("outer addresses or ports that no packet can have"),
            Self::Around => f.write_str(
                "a second protection goes around the same directions as the first, and not around UDP",
            ),
            Self::Full => f.write_str("no room for another pair of manual keys"),
            Self::Sa(Direction::Inbound, e) => write!(f, "to receive on: {e}"),
            Self::Sa(Direction::Outbound, e) => write!(f, "to send on: {e}"),
        }
    }
}

impl core::error::Error for ManualError {}

impl Manual<'_> {
    fn check(&self) -> Result<(), ManualError> {
        let ManualSas { inbound, outbound, .. } = &self.sas;
        if inbound.is_none() && outbound.is_none() {
            return Err(ManualError::Nothing);
        }
        let Path { local, remote } = self.path;
        let in_udp = self.encapsulation == Encapsulation::Udp;
        if local.address.is_ipv4() != remote.address.is_ipv4()
            || in_udp && (local.port == 0 || remote.port == 0)
        {
            return Err(ManualError::Path);
        }
        let fits = self.around.as_ref().is_none_or(|around| {
            let same = around.inbound.is_some() == inbound.is_some()
                && around.outbound.is_some() == outbound.is_some();
            same && !in_udp
        });
        if fits { Ok(()) } else { Err(ManualError::Around) }
    }
}

/// What the SAs of one protection have in common.
struct Layer<'l, 'k> {
    manual: &'l Manual<'k>,
    sas: &'l ManualSas<'k>,
    mode: Mode,
    selectors: &'l Selectors,
    tag: u32,
}

impl<'l, 'k: 'l> Layer<'l, 'k> {
    fn params(&self, key: &ManualKey<'k>) -> SaParams<'l> {
        let Self { manual, sas, mode, selectors, tag } = *self;
        SaParams {
            spi: key.spi,
            protection: sas.protection,
            mode,
            keymat: key.keymat,
            path: manual.path,
            encapsulation: manual.encapsulation,
            esn: manual.esn,
            replay_window: manual.replay_window,
            lifetime: manual.lifetime,
            selectors,
            tag,
        }
    }
}

/// What only manual keys need. The gateway gets it with the first of them, so that a program which installs none does not
/// link it.
pub(crate) struct Manually<P: Provider> {
    /// Seals a packet twice. With IKEv1, that is linked anyway.
    #[cfg(not(feature = "ikev1"))]
    pub(crate) seal: nested::SealTwice<P>,
    /// Looks at what came out of a pair, and opens it again if need be.
    pub(crate) open: OpenAgain<P>,
    /// Notes that an SA has reached a limit.
    pub(crate) limit: fn(&mut Gateway<'_, P>, u32, SadEventKind),
    /// The next limit that is to be told.
    pub(crate) event: fn(&mut Gateway<'_, P>) -> Option<GatewayEvent>,
}

type OpenAgain<P> = for<'b> fn(
    &mut Gateway<'_, P>,
    Instant,
    usize,
    Opened,
    &'b mut [u8],
) -> Result<Received<'b>, InboundError>;

impl<P: Provider> Gateway<'_, P> {
    const MANUALLY: Manually<P> = Manually {
        #[cfg(not(feature = "ikev1"))]
        seal: |gateway, now, rng, ids, inner, packet| {
            gateway.protect_twice(now, rng, ids, inner, packet)
        },
        open: |gateway, now, base, opened, packet| gateway.open_manual(now, base, opened, packet),
        limit: |gateway, number, kind| gateway.manual_limit(number, kind),
        event: |gateway| gateway.manual_event(),
    };

    pub(crate) fn add_manual(
        &mut self,
        policies: &[Selectors],
        room: SetupError,
    ) -> Result<(), SetupError> {
        if u16::try_from(policies.len()).is_err() {
            return Err(SetupError::TooMany);
        }
        for selectors in policies {
            let tunnel = self.tunnels.push_manual().ok_or(room)?;
            let policy = Policy::new(selectors.clone(), Action::Protect(tunnel));
            self.spd.push(policy).map_err(|_| room)?;
        }
        Ok(())
    }

    /// Installs SAs for the policy at this place of [`GatewayConfig::manual`](crate::GatewayConfig::manual). Packets that
    /// leave go to the SA that was installed last.
    ///
    /// Its cost grows with the number of manual pairs that there is room for.
    ///
    /// # Errors
    /// See [`ManualError`].
    pub fn install_manual(
        &mut self,
        now: Instant,
        policy: u16,
        manual: &Manual<'_>,
    ) -> Result<ManualId, ManualError> {
        manual.check()?;
        self.manually = Some(&Self::MANUALLY);
        let tunnel = self.tunnels.manual_number(policy).ok_or(ManualError::Policy)?;
        let inner = self.add_pair(now, tunnel, Place::Inner, None, manual, &manual.sas)?;
        if let Some(around) = &manual.around {
            match self.add_pair(now, tunnel, Place::Around, Some(inner), manual, around) {
                Ok(outer) => self.tunnels.link_manual(inner, outer),
                Err(e) => {
                    self.remove_pair(inner);
                    return Err(e);
                }
            }
        }
        if manual.sas.outbound.is_some() {
            self.tunnels.put_first(inner);
        }
        let pair = self.tunnels.pair(inner).and_then(PairSlot::manual);
        let generation = pair.map_or(0, |pair| pair.generation);
        Ok(ManualId { number: inner, generation })
    }

    /// Installs the SAs of one protection. Gives the number of the pair.
    fn add_pair(
        &mut self,
        now: Instant,
        tunnel: u32,
        place: Place,
        other: Option<u32>,
        manual: &Manual<'_>,
        sas: &ManualSas<'_>,
    ) -> Result<u32, ManualError> {
        let number = self.tunnels.free_manual().ok_or(ManualError::Full)?;
        let around;
        let (mode, selectors) = match place {
            Place::Inner => {
                let index = self.first_tunnel.saturating_add(tunnel as usize);
                let policy = self.spd.policies().get(index).ok_or(ManualError::Policy)?;
                (manual.mode, &policy.selectors)
            }
            Place::Around => {
                let protocol = manual.sas.protection.protocol();
                around = nested::selectors_around(&manual.path, protocol);
                (Mode::TRANSPORT, &around)
            }
        };
        let sa = Layer { manual, sas, mode, selectors, tag: number };
        let inbound: Option<InboundId> = match &sas.inbound {
            None => None,
            Some(key) => {
                let id = self.sad.install_inbound_as(now, &sa.params(key), FoundBy::Spi);
                Some(id.map_err(|e| ManualError::Sa(Direction::Inbound, e))?)
            }
        };
        let outbound: Option<OutboundId> = match &sas.outbound {
            None => None,
            Some(key) => match self.sad.install_outbound(now, &sa.params(key)) {
                Ok(id) => {
                    self.sad.skip_sequence(id, manual.sequence);
                    self.path_mtus.installed(number, key.spi.get());
                    Some(id)
                }
                Err(e) => {
                    if let Some(id) = inbound {
                        self.sad.remove_inbound(id);
                    }
                    return Err(ManualError::Sa(Direction::Outbound, e));
                }
            },
        };
        if let Some(pair) = self.tunnels.add_manual(number, tunnel, place, other) {
            (pair.inbound, pair.outbound) = (inbound, outbound);
        }
        Ok(number)
    }

    /// Removes SAs and wipes their keys. Says whether they were there.
    pub fn remove_manual(&mut self, id: ManualId) -> bool {
        let Some(pair) = self.manual_pair(id) else { return false };
        let other = pair.manual().and_then(|manual| manual.other.checked_sub(1));
        self.remove_pair(id.number);
        if let Some(around) = other {
            self.remove_pair(around);
        }
        true
    }

    fn remove_pair(&mut self, number: u32) {
        let Some(pair) = self.tunnels.pair(number) else { return };
        let (inbound, outbound) = (pair.inbound, pair.outbound);
        if let Some(id) = inbound {
            self.sad.remove_inbound(id);
        }
        if let Some(id) = outbound {
            self.sad.remove_outbound(id);
        }
        self.tunnels.remove(number);
    }

    pub(crate) fn manual_pair(&self, id: ManualId) -> Option<&PairSlot> {
        let pair = self.tunnels.pair(id.number)?;
        let manual = pair.manual()?;
        (manual.generation == id.generation && manual.place == Place::Inner).then_some(pair)
    }

    /// What went through SAs with manual keys; `None` if they are gone.
    pub fn manual(&self, id: ManualId) -> Option<ManualReport> {
        let pair = self.manual_pair(id)?;
        let outbound = pair.outbound.and_then(|id| self.sad.outbound(id));
        let inbound = pair.inbound.and_then(|id| self.sad.inbound(id));
        let usage = |usage: &Usage| (usage.packets, usage.bytes);
        Some(ManualReport {
            policy: self.tunnels.manual_policy(pair.tunnel)?,
            sent: outbound.map_or((0, 0), |sa| usage(&sa.protection.usage)),
            received: inbound.map_or((0, 0), |sa| usage(&sa.protection.usage)),
            sequence: outbound.map_or(0, |sa| sa.sequence()),
        })
    }

    /// What sealing adds to a packet, and what the second protection around it adds to that; `None` if the SAs are gone, or
    /// there is none to send on.
    ///
    /// The longest packet is the [`effective_mtu`](Overhead::effective_mtu) of the first in that of the second. The room
    /// that sealing needs before and behind a packet is that of both together.
    pub fn manual_overhead(&self, id: ManualId) -> Option<(Overhead, Option<Overhead>)> {
        let pair = self.manual_pair(id)?;
        let of = |id| self.sad.outbound(id).map(|sa| Overhead::of(&sa.protection));
        let around = pair.manual().and_then(|manual| manual.other.checked_sub(1));
        let around = around.and_then(|number| of(self.tunnels.pair(number)?.outbound?));
        Some((of(pair.outbound?)?, around))
    }

    /// Notes that an SA with manual keys has reached a limit.
    fn manual_limit(&mut self, number: u32, kind: SadEventKind) {
        let what = match kind {
            SadEventKind::Soft => SOFT,
            SadEventKind::Hard => HARD,
            SadEventKind::FirstPacket | SadEventKind::PeerMoved(_) | SadEventKind::Export => return,
        };
        let Some(manual) = self.tunnels.pair(number).and_then(PairSlot::manual) else { return };
        let number = match manual.place {
            Place::Inner => number,
            Place::Around => manual.other.saturating_sub(1),
        };
        if what == HARD {
            self.tunnels.unlist(number);
        }
        self.tunnels.note_due(number, what);
    }

    /// The next limit that is to be told.
    fn manual_event(&mut self) -> Option<GatewayEvent> {
        let (number, what) = self.tunnels.take_due()?;
        let pair = self.tunnels.pair(number)?;
        let id = ManualId { number, generation: pair.manual()?.generation };
        let policy = self.tunnels.manual_policy(pair.tunnel)?;
        Some(GatewayEvent::ManualLimit { id, policy, hard: what == HARD })
    }

    fn open_manual<'b>(
        &mut self,
        now: Instant,
        base: usize,
        opened: Opened,
        packet: &'b mut [u8],
    ) -> Result<Received<'b>, InboundError> {
        let outer = opened.tag;
        if let Some(id) = self.manual_via(&opened, None)? {
            return Ok(self.received_via(base, opened, packet, Via::Manual(id)));
        }
        match ipsec_esp::inbound_ip(&mut self.sad, now, packet) {
            Ok(ipsec_esp::Inbound::Packet { opened, packet }) => {
                let refused = InboundError::NotNested(audit(&opened));
                let id = self.manual_via(&opened, Some(outer))?.ok_or(refused)?;
                Ok(self.received_via(base, opened, packet, Via::Manual(id)))
            }
            // The selectors of the outer SA let nothing else through.
            Ok(_) => Err(InboundError::NotNested(audit(&opened))),
            Err(e) => Err(InboundError::Open(e)),
        }
    }

    /// Whether a packet has been opened by all the SAs that it should be: then the name of the pair. `None` if one
    /// is left. `outer` is the pair that has been opened around it.
    fn manual_via(
        &self,
        opened: &Opened,
        outer: Option<u32>,
    ) -> Result<Option<ManualId>, InboundError> {
        let refused = InboundError::NotNested(audit(opened));
        let number = opened.tag;
        let manual = self.tunnels.pair(number).and_then(PairSlot::manual).ok_or(refused)?;
        match manual.place {
            Place::Inner if outer == manual.other.checked_sub(1) => {
                Ok(Some(ManualId { number, generation: manual.generation }))
            }
            Place::Around if outer.is_none() => Ok(None),
            Place::Inner | Place::Around => Err(refused),
        }
    }
}
