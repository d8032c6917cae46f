//! Packets of the protected side, on their way out.

use ipsec_core::crypto::Provider;
use ipsec_core::packet::{NoRoom, PacketBuf};
use ipsec_core::path::Path;
use ipsec_core::sa::Encapsulation;
use ipsec_core::selector::Flow;
use ipsec_core::spd::{Action, Direction};
use ipsec_core::time::Instant;
use ipsec_core::wire::{Fragment, IpError, IpPacket, icmp};
use ipsec_esp::{Overhead, SealError, Sealed};
use ipsec_ike::event::ChildRef;
use ipsec_ike::{CommandError, Env};
use rand_core::CryptoRng;

use crate::counters::DropReason;
use crate::gateway::Gateway;
use crate::inbound::Via;
use crate::tunnel::{Carrier, Choice};

/// What becomes of a packet that wants to leave. Nothing is queued: what is not sent is for the caller to drop or keep.
#[derive(Debug)]
#[must_use]
pub enum Outbound<'b> {
    /// It was sealed: send it.
    Send(Sent<'b>),
    /// Policy lets it pass in clear: send it as it is.
    Bypass(PacketBuf<'b>),
    /// Drop it.
    Discard(Discard),
    /// It must be protected, and the tunnel is not up: negotiation has begun now. Told once for each tunnel, until that
    /// is up or has failed.
    Acquire(ChildRef),
    /// It must be protected, and the tunnel is not up: negotiation is under way, or was refused or has failed less than
    /// [`retry_after`](crate::GatewayConfig::retry_after) ago.
    Pending(ChildRef),
}

/// A sealed packet.
#[derive(Debug)]
pub struct Sent<'b> {
    /// The whole outer packet, with IP header, and UDP header if there is one.
    pub packet: PacketBuf<'b>,
    /// Where it goes, and which SA it uses.
    pub sealed: Sealed,
}

impl<'b> Sent<'b> {
    /// The whole outer packet: for an IP stack of one's own.
    pub fn outer(&self) -> &[u8] {
        self.packet.payload()
    }

    /// The whole outer packet, for as long as the buffer was lent.
    pub fn into_outer(self) -> &'b mut [u8] {
        self.packet.into_slice()
    }

    /// The ESP packet without outer headers: for the sockets of a kernel. With [`Encapsulation::Udp`] it is a UDP
    /// payload.
    pub fn esp(&self) -> &[u8] {
        self.packet.payload().get(self.sealed.esp.clone()).unwrap_or_default()
    }

    /// From where to where; ports are 0 without UDP.
    pub const fn path(&self) -> Path {
        self.sealed.path
    }

    /// Whether it has a UDP header.
    pub const fn encapsulation(&self) -> Encapsulation {
        self.sealed.encapsulation
    }
}

/// Why a packet is not for the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Discard {
    /// Policy says so.
    Policy,
    /// No policy is about it (RFC 4301 section 5.1).
    NoPolicy,
    /// The tunnel is up, but the peer agreed to less than the policy asks for.
    NotAgreed,
    /// It must be protected with keys that the program brings, and there are none
    /// ([`Gateway::install_manual`]).
    NoKeys,
    /// It is a fragment after the first, and policy protects only some ports (RFC 4301 section 7).
    Fragment,
    /// The SAs that it was to go back through are gone.
    Gone,
}

impl core::fmt::Display for Discard {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Policy => "policy discards it",
            Self::NoPolicy => "no policy matches",
            Self::NotAgreed => "the peer did not agree to this traffic",
            Self::NoKeys => "no manual keys to send with",
            Self::Fragment => "a fragment, and only some ports are protected",
            Self::Gone => "the SAs that it was to go back through are gone",
        })
    }
}

/// Why a packet could not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OutboundError {
    /// Peer (the host behind us): not an IP packet.
    Packet(IpError),
    /// Peer (the host behind us): too long for the path once sealed, and not to be fragmented. Tell the host with
    /// an ICMP Packet Too Big (Fragmentation Needed) that says `mtu` (RFC 4301 section 8.2).
    TooBig {
        /// The longest packet that goes through.
        mtu: usize,
    },
    /// Capacity: the buffer is too small around the packet.
    NoRoom(NoRoom),
    /// See [`SealError`].
    Seal(SealError),
    /// The tunnel is not up, and its negotiation could not begin.
    Start(CommandError),
}

impl core::fmt::Display for OutboundError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Packet(e) => e.fmt(f),
            Self::TooBig { mtu } => write!(f, "too big: at most {mtu} bytes go through"),
            Self::NoRoom(e) => e.fmt(f),
            Self::Seal(e) => e.fmt(f),
            Self::Start(e) => write!(f, "negotiation could not begin: {e}"),
        }
    }
}

impl core::error::Error for OutboundError {}

impl<P: Provider> Gateway<'_, P> {
    /// Takes an IP packet of the protected side, as a router does that has counted down its hop limit already.
    ///
    /// [`Gateway::overhead`] tells how much room must be around it. Unless it is sealed, the packet is not changed.
    /// After it, do steps 5 and 6 of the [driving loop](crate#the-driving-loop).
    ///
    /// # Errors
    /// See [`OutboundError`]. Only [`OutboundError::Seal`] may have changed the packet.
    pub fn outbound<'b>(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        packet: PacketBuf<'b>,
    ) -> Result<Outbound<'b>, OutboundError> {
        let result = self.route(now, rng, None, packet);
        self.count_outbound(result)
    }

    /// Takes a packet that must go back to where another one came from, and to no other peer:
    /// [`Received::via`](crate::Received::via) said it of that one.
    ///
    /// Addresses do not tell peers apart where two of them have the same: behind one NAT in transport mode, as with
    /// L2TP, or with the same network behind each of them (RFC 3948 section 5). [`Gateway::outbound`] would take the newest
    /// child SA. A child SA is replaced now and then: follow [`GatewayEvent::ChildRekeyed`](crate::GatewayEvent), or take
    /// the newest that a packet came through.
    ///
    /// # Errors
    /// As for [`Gateway::outbound`].
    pub fn outbound_via<'b>(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        via: Via,
        packet: PacketBuf<'b>,
    ) -> Result<Outbound<'b>, OutboundError> {
        let result = self.route(now, rng, Some(via), packet);
        self.count_outbound(result)
    }

    fn count_outbound<'b>(
        &mut self,
        result: Result<Outbound<'b>, OutboundError>,
    ) -> Result<Outbound<'b>, OutboundError> {
        match &result {
            Ok(Outbound::Send(_)) => {}
            Ok(Outbound::Bypass(_)) => {
                self.counters.bypassed = self.counters.bypassed.saturating_add(1);
            }
            Ok(Outbound::Discard(why)) => self.counters.drop((*why).into()),
            Ok(Outbound::Acquire(_) | Outbound::Pending(_)) => {
                self.counters.drop(DropReason::OutNoSa);
            }
            Err(e) => self.counters.drop(e.into()),
        }
        result
    }

    fn route<'b>(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        via: Option<Via>,
        packet: PacketBuf<'b>,
    ) -> Result<Outbound<'b>, OutboundError> {
        let inner = IpPacket::parse(packet.payload()).map_err(OutboundError::Packet)?;
        let flow = self.fragments.complete(now, &inner);
        let (number, tunnel) = match self.spd.lookup_packet(Direction::Outbound, &inner, &flow) {
            None => {
                return self.answer_error(now, rng, &inner, packet, Discard::NoPolicy);
            }
            Some((_, Action::Discard)) => return Ok(Outbound::Discard(Discard::Policy)),
            Some((_, Action::Bypass)) => return Ok(Outbound::Bypass(packet)),
            Some((number, Action::Protect(tunnel))) => (number, tunnel),
        };
        // RFC 4301 section 7: the peer would not take it.
        if inner.fragment == Fragment::Later && !self.is_for(number, &inner.flow) {
            return Ok(Outbound::Discard(Discard::Fragment));
        }
        if let Some(via) = via {
            return match self.via(via, &inner.flow) {
                Ok(sas) => self.seal(now, rng, sas, &inner, packet),
                Err(why) => Ok(Outbound::Discard(why)),
            };
        }
        match self.tunnels.choose(&self.sad, tunnel, &inner.flow) {
            Choice::Sa(sas) => self.seal(now, rng, sas, &inner, packet),
            Choice::NotAgreed if self.takes_from_packet(number) => {
                self.make_room(now, rng, tunnel);
                self.acquire(now, rng, tunnel, &inner.flow)
            }
            Choice::NotAgreed => self.answer_error(now, rng, &inner, packet, Discard::NotAgreed),
            Choice::None if self.tunnels.manual_policy(tunnel).is_some() => {
                Ok(Outbound::Discard(Discard::NoKeys))
            }
            Choice::None => self.acquire(now, rng, tunnel, &inner.flow),
        }
    }

    /// The SAs back to where something came from, for such packets.
    fn via(&self, via: Via, flow: &Flow) -> Result<Carrier, Discard> {
        let pair = match via {
            Via::Child { child, .. } => self.tunnels.child(child),
            Via::Manual(id) => self.manual_pair(id),
        };
        let pair = pair.ok_or(Discard::Gone)?;
        if !self.is_for(self.first_tunnel.saturating_add(pair.tunnel as usize), flow) {
            return Err(Discard::NotAgreed);
        }
        self.tunnels.carrier(&self.sad, pair, flow).ok_or(Discard::NotAgreed)
    }

    /// Whether the SAs of a policy are each for what was taken from one packet.
    fn takes_from_packet(&self, number: usize) -> bool {
        cfg!(feature = "from_packet")
            && self.spd.policies().get(number).is_some_and(|policy| !policy.from_packet.is_none())
    }

    /// Closes the oldest child SA of a tunnel if there are as many as it may have.
    #[inline(never)]
    fn make_room(&mut self, now: Instant, rng: &mut dyn CryptoRng, tunnel: u32) {
        let Some(slot) = self.tunnels.tunnel(tunnel).filter(|slot| slot.retry_at <= now) else {
            return;
        };
        let peer = self.ike.config().peers.get(usize::from(slot.config.peer));
        let child = peer.and_then(|peer| peer.children.get(usize::from(slot.config.child)));
        let most = child.map_or(1, |child| usize::from(child.combinations.max(1)));
        let mut last = self.tunnels.current(tunnel);
        let mut count = 0usize;
        while let Some((number, _)) = last {
            count = count.saturating_add(1);
            match self.tunnels.after(number) {
                Some(after) => last = Some(after),
                None => break,
            }
        }
        if count < most {
            return;
        }
        if let Some((number, Some(id))) = last.map(|(number, pair)| (number, pair.child())) {
            // Nothing is sent on it any more, so that it is not asked to go once more.
            self.tunnels.unlist(number);
            let _ = self.ike.close_child(&mut Env { now, rng, spis: &mut self.sad }, id);
        }
    }

    /// Whether a policy is for such packets.
    fn is_for(&self, number: usize, flow: &Flow) -> bool {
        let policy = self.spd.policies().get(number);
        policy.is_some_and(|policy| policy.selectors.match_outbound(flow))
    }

    /// Sends an ICMP error for which no SA is, and none is to be made, on the one that carries what the sender of the
    /// quoted packet is sent (RFC 4301 section 6.2). Everything else is dropped.
    fn answer_error<'b>(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        inner: &IpPacket,
        packet: PacketBuf<'b>,
        otherwise: Discard,
    ) -> Result<Outbound<'b>, OutboundError> {
        if let Some(quoted) = icmp::quoted_flow(packet.payload(), inner) {
            let flow = quoted.reversed();
            if let Some((_, Action::Protect(tunnel))) = self.spd.lookup(Direction::Outbound, &flow)
                && let Choice::Sa(sas) = self.tunnels.choose(&self.sad, tunnel, &flow)
            {
                return self.seal(now, rng, sas, inner, packet);
            }
        }
        Ok(Outbound::Discard(otherwise))
    }

    fn seal<'b>(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        sas: Carrier,
        inner: &IpPacket,
        mut packet: PacketBuf<'b>,
    ) -> Result<Outbound<'b>, OutboundError> {
        let (id, around) = sas;
        #[cfg(feature = "ikev1")]
        if let Some(around) = around {
            return self.protect_twice(now, rng, [id, around], inner, packet);
        }
        #[cfg(not(feature = "ikev1"))]
        if let Some(around) = around {
            let gone = OutboundError::Seal(SealError::NoSa);
            let manually = self.manually.ok_or(gone)?;
            return (manually.seal)(self, now, rng, [id, around], inner, packet);
        }
        if let Some(sa) = self.sad.outbound(id) {
            let overhead = Overhead::of(&sa.protection);
            let path_mtu = self.path_mtu_of(now, sa.protection.tag);
            if inner.dont_fragment && overhead.sealed_len(inner.len) > path_mtu {
                let mtu = overhead.effective_mtu(path_mtu);
                return Err(OutboundError::TooBig { mtu });
            }
        }
        let sealed = ipsec_esp::seal(&mut self.sad, now, id, &mut packet);
        self.pump(now, rng);
        self.sent(inner, packet, sealed)
    }

    /// Tells and counts what became of a packet.
    pub(crate) fn sent<'b>(
        &mut self,
        inner: &IpPacket,
        packet: PacketBuf<'b>,
        sealed: Result<Sealed, SealError>,
    ) -> Result<Outbound<'b>, OutboundError> {
        let sealed = sealed.map_err(|e| match e {
            SealError::Inner(e) => OutboundError::Packet(e),
            SealError::NoRoom(e) => OutboundError::NoRoom(e),
            e => OutboundError::Seal(e),
        })?;
        let counters = &mut self.counters;
        counters.sealed = counters.sealed.saturating_add(1);
        counters.sealed_bytes = counters.sealed_bytes.saturating_add(inner.len as u64);
        counters.sealed_outer_bytes =
            counters.sealed_outer_bytes.saturating_add(packet.len() as u64);
        Ok(Outbound::Send(Sent { packet, sealed }))
    }

    /// Begins the negotiation of a tunnel, unless that was tried a moment ago.
    fn acquire<'b>(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        tunnel: u32,
        flow: &Flow,
    ) -> Result<Outbound<'b>, OutboundError> {
        let unknown = OutboundError::Start(CommandError::Unknown);
        let slot = self.tunnels.tunnel_mut(tunnel).ok_or(unknown)?;
        let config = slot.config;
        if now < slot.retry_at {
            return Ok(Outbound::Pending(config));
        }
        slot.retry_at = now.after(self.retry_after);
        let mut env = Env { now, rng, spis: &mut self.sad };
        self.ike.initiate_for(&mut env, config, flow).map_err(OutboundError::Start)?;
        if core::mem::replace(&mut slot.negotiating, true) {
            // Idempotent while it is under way; and if its end was never told, this is a new beginning.
            return Ok(Outbound::Pending(config));
        }
        Ok(Outbound::Acquire(config))
    }
}
