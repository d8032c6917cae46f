//! The gateway: what is configured, what is known, and the commands that change it.

use core::net::IpAddr;
use core::time::Duration;

use ipsec_core::crypto::Provider;
use ipsec_core::fragments::{FragmentSlot, FragmentTable};
use ipsec_core::path::Path;
use ipsec_core::sad::{Sad, SadEventKind};
use ipsec_core::selector::{Flow, MAX_SELECTORS, SelectorList, Selectors, TrafficSelector};
use ipsec_core::spd::{Action, Policy, Spd};
use ipsec_core::time::Instant;
use ipsec_esp::Overhead;
use ipsec_ike::config::{Child, Config};
use ipsec_ike::event::{ChildId, ChildRef, IkeId};
use ipsec_ike::{CommandError, Env, Ike, IkeMemory, PeerAddresses};
use rand_core::CryptoRng;

use crate::counters::Counters;
use crate::manual::Manually;
use crate::memory::Memory;
use crate::path_mtu::PathMtus;
use crate::tunnel::{PairSlot, Tunnels};

/// What a gateway is told when it is made.
#[derive(Clone, Copy)]
pub struct GatewayConfig<'r> {
    /// Peers, their tunnels, and our ports.
    pub ike: Config<'r>,
    /// Policies before those of the tunnels, in order: what bypasses them, or is dropped although a tunnel would take
    /// it. Not [`Action::Protect`].
    pub before: &'r [Policy],
    /// What is protected with keys that the program brings, without IKE: [`Gateway::install_manual`]. Each is a policy; they
    /// lie behind those of the peers' tunnels, in order. Without keys, their traffic is dropped.
    pub manual: &'r [Selectors],
    /// Policies behind those of the tunnels, in order. What no policy matches is dropped. Not [`Action::Protect`].
    pub after: &'r [Policy],
    /// The longest IP packet that goes through the unprotected network, in bytes. Longer ones are refused if they must
    /// not be fragmented. `usize::MAX` refuses none.
    pub path_mtu: usize,
    /// The least path MTU that is believed of what the network tells, in bytes: RFC 4301 section 6.1.1 asks for such a
    /// limit. Over IPv6 it is at least 1,280.
    pub least_path_mtu: usize,
    /// What the network told of a path MTU is forgotten after this time (RFC 4301 section 8.2.2, RFC 1191 section 6.3).
    pub path_mtu_kept: Duration,
    /// A tunnel that could not be negotiated is not tried again for traffic before this time has passed.
    pub retry_after: Duration,
}

impl<'r> GatewayConfig<'r> {
    /// No policies but those of the tunnels, an MTU of 1500 bytes, of which 576 are believed to be left and that for ten
    /// minutes, another try after five seconds.
    pub const fn new(ike: Config<'r>) -> Self {
        Self {
            ike,
            before: &[],
            manual: &[],
            after: &[],
            path_mtu: 1500,
            least_path_mtu: 576,
            path_mtu_kept: Duration::from_secs(600),
            retry_after: Duration::from_secs(5),
        }
    }
}

/// Why a gateway was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SetupError {
    /// Local: this tunnel has no traffic selectors on one side, or more than [`MAX_SELECTORS`].
    Selectors(ChildRef),
    /// Local: this tunnel asks for a larger anti-replay window than the memory has bitmaps for.
    Window(ChildRef, u32),
    /// Local: one of the caller's policies is [`Action::Protect`].
    Protect,
    /// Local: this peer is to speak IKEv1, which has no way of authentication for it: [`Peer::has_v1_method`](ipsec_ike::config::Peer::has_v1_method).
    #[cfg(feature = "ikev1")]
    NoMethod(u16),
    /// Local: more peers, or children of one peer, than 65,535.
    TooMany,
    /// Capacity: the memory has room for fewer policies than there are: this many are needed.
    Policies(usize),
    /// Capacity: the lent slices do not fit together: this one is to have so many elements at least.
    Memory(Part, usize),
}

/// A slice of [`Memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Part {
    /// Slots of inbound SAs.
    InboundSas,
    /// Slots of outbound SAs.
    OutboundSas,
    /// Links of the security association database.
    SadLinks,
    /// Pairs of SAs.
    Pairs,
    /// Links of the IKE engine.
    IkeLinks,
    /// Deadlines of the IKE engine.
    Deadlines,
}

impl core::fmt::Display for Part {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::InboundSas => "inbound SAs",
            Self::OutboundSas => "outbound SAs",
            Self::SadLinks => "links of the SAD",
            Self::Pairs => "pairs of SAs",
            Self::IkeLinks => "links of IKE",
            Self::Deadlines => "deadlines",
        })
    }
}

impl core::fmt::Display for SetupError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Selectors(c) => write!(
                f,
                "peer {}, child {}: each side needs 1 to {MAX_SELECTORS} traffic selectors",
                c.peer, c.child
            ),
            Self::Window(c, max) => write!(
                f,
                "peer {}, child {}: the anti-replay window is larger than {max}, which the memory allows",
                c.peer, c.child
            ),
            #[cfg(feature = "ikev1")]
            Self::NoMethod(peer) => {
                write!(f, "peer {peer}: IKEv1 has no such way of authentication for both sides")
            }
            Self::Protect => f.write_str("a policy besides the tunnels' own cannot protect"),
            Self::TooMany => f.write_str("more than 65,535 peers, or children of one peer"),
            Self::Policies(needed) => write!(f, "memory for {needed} policies is needed"),
            Self::Memory(part, needed) => write!(f, "memory for {needed} {part} is needed"),
        }
    }
}

impl core::error::Error for SetupError {}

/// What a gateway has in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Statistics {
    /// IKE SAs, half-open ones included.
    pub ike_sas: usize,
    /// Child SAs, those included that are being negotiated.
    pub children: usize,
    /// Half-open exchanges.
    pub handshakes: usize,
    /// Exchanges after IKE_AUTH.
    pub exchanges: usize,
    /// Message buffers that are free.
    pub buffers_free: usize,
    /// SAs to receive on, and reserved SPIs.
    pub inbound_sas: usize,
    /// SAs to send on.
    pub outbound_sas: usize,
}

/// One configured child, and how it is.
#[derive(Clone, Copy)]
pub struct Tunnel<'r> {
    /// Its place in the configuration.
    pub config: ChildRef,
    /// Its configuration.
    pub child_config: &'r Child<'r>,
    /// The child SA that it sends on; `None` while it is down.
    pub child: Option<ChildId>,
    /// Traffic has asked for it, and negotiation has neither failed nor brought it up.
    pub negotiating: bool,
    /// Packets and bytes sent on that child SA.
    pub sent: (u64, u64),
    /// Packets and bytes received on that child SA.
    pub received: (u64, u64),
}

/// An IPsec gateway between a protected side and an unprotected one.
///
/// It owns no socket, clock, random numbers or memory. See the [driving loop](crate#the-driving-loop).
pub struct Gateway<'r, P: Provider> {
    pub(crate) ike: Ike<'r, P>,
    pub(crate) sad: Sad<'r, P>,
    pub(crate) spd: Spd<'r>,
    pub(crate) tunnels: Tunnels<'r>,
    /// The index of the first tunnel's policy; those of the others follow it.
    pub(crate) first_tunnel: usize,
    pub(crate) fragments: FragmentTable<'r>,
    pub(crate) counters: Counters,
    pub(crate) path_mtu: usize,
    pub(crate) least_path_mtu: usize,
    pub(crate) path_mtu_kept: Duration,
    pub(crate) path_mtus: PathMtus<'r>,
    pub(crate) retry_after: Duration,
    /// Once there have been manual keys.
    pub(crate) manually: Option<&'static Manually<P>>,
}

impl<'r, P: Provider> Gateway<'r, P> {
    /// A gateway without SAs. Nothing is negotiated before traffic, a command, or the peer asks for it.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn new(
        config: &GatewayConfig<'r>,
        memory: Memory<'r, P>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, SetupError> {
        check(&memory)?;
        let Memory { sad, ike, spd, tunnels, pairs } = memory;
        let children_of_ike = ike.children.len();
        let mut gateway = Self {
            ike: Ike::new(config.ike, ike, rng),
            sad: Sad::new(sad),
            spd: Spd::with_index(spd),
            tunnels: Tunnels::new(tunnels, pairs, children_of_ike),
            first_tunnel: config.before.len(),
            fragments: FragmentTable::new(&mut []),
            counters: Counters::default(),
            path_mtu: config.path_mtu,
            least_path_mtu: config.least_path_mtu,
            path_mtu_kept: config.path_mtu_kept,
            path_mtus: PathMtus::new(&mut [], &mut []),
            retry_after: config.retry_after,
            manually: None,
        };
        let children: usize = config.ike.peers.iter().map(|peer| peer.children.len()).sum();
        let needed = children
            .saturating_add(config.before.len())
            .saturating_add(config.manual.len())
            .saturating_add(config.after.len());
        let room = SetupError::Policies(needed);
        gateway.add_policies(config.before, room)?;
        gateway.add_tunnels(room)?;
        gateway.add_manual(config.manual, room)?;
        gateway.add_policies(config.after, room)?;
        Ok(gateway)
    }

    fn add_policies(&mut self, policies: &[Policy], room: SetupError) -> Result<(), SetupError> {
        for policy in policies {
            if matches!(policy.action, Action::Protect(_)) {
                return Err(SetupError::Protect);
            }
            self.spd.push(policy.clone()).map_err(|_| room)?;
        }
        Ok(())
    }

    fn add_tunnels(&mut self, room: SetupError) -> Result<(), SetupError> {
        let max_window = self.sad.max_window();
        let peers = self.ike.config().peers;
        for (peer_number, peer) in peers.iter().enumerate() {
            #[cfg(feature = "ikev1")]
            if peer.versions.v1().is_some() && !peer.has_v1_method() {
                let number = u16::try_from(peer_number).map_err(|_| SetupError::TooMany)?;
                return Err(SetupError::NoMethod(number));
            }
            for (child_number, child) in peer.children.iter().enumerate() {
                let config = ChildRef {
                    peer: u16::try_from(peer_number).map_err(|_| SetupError::TooMany)?,
                    child: u16::try_from(child_number).map_err(|_| SetupError::TooMany)?,
                };
                if child.replay_window > max_window {
                    return Err(SetupError::Window(config, max_window));
                }
                let selectors = selectors(child).ok_or(SetupError::Selectors(config))?;
                let tunnel = self.tunnels.push(config).ok_or(room)?;
                let (dscp, from_packet) = (child.dscp, child.takes_from_packet());
                let policy = Policy::new(selectors, Action::Protect(tunnel));
                let policy = Policy { dscp, from_packet, ..policy };
                self.spd.push(policy).map_err(|_| room)?;
            }
        }
        Ok(())
    }

    /// Lends memory for datagrams that pass in fragments, so that fragments after the first can be let pass, or dropped,
    /// by policies for some ports: without it, they are for policies of any port only (RFC 4301 section 7.4). A few
    /// dozen slots are enough.
    ///
    /// Fragments are protected by tunnels for any port, or for [opaque](ipsec_core::selector::PortRange::OPAQUE) ports:
    /// the methods of RFC 4301 section 7.1 and section 7.2. SAs of some ports carry no fragment but the first.
    pub fn track_fragments(&mut self, slots: &'r mut [FragmentSlot]) {
        self.fragments = FragmentTable::new(slots);
    }

    /// Lends memory for the packets that ask for SAs of their own, where
    /// [`Child::from_packet`](ipsec_ike::config::Child::from_packet) says so: one for each child SA, and one for each
    /// half-open exchange. Without it, no such SA is made, and [`OutboundError::Start`](crate::OutboundError::Start) says so.
    pub fn remember_packets(&mut self, packets: &'r mut [Flow]) {
        self.ike.remember_packets(packets);
    }

    /// Does what is due. Call it when [`Gateway::next_timeout`] has come, then do steps 5 and 6 of the
    /// [driving loop](crate#the-driving-loop). Earlier is harmless; later delays retransmissions, rekeying and the end
    /// of SAs.
    pub fn handle_timeout(&mut self, now: Instant, rng: &mut dyn CryptoRng) {
        self.ike.handle_timeout(&mut Env { now, rng, spis: &mut self.sad });
    }

    /// When [`Gateway::handle_timeout`] is to be called next; `None`: not before something else happens.
    ///
    /// Call again after every other call.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.ike.next_timeout()
    }

    // ---- commands ----

    /// Brings a tunnel up without waiting for traffic. Does nothing if it is up, or on its way.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub fn initiate(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        config: ChildRef,
    ) -> Result<(), CommandError> {
        let tunnel = self.tunnels.number(config).ok_or(CommandError::Unknown)?;
        if self.tunnels.current(tunnel).is_some() {
            return Ok(());
        }
        self.ike.initiate(&mut Env { now, rng, spis: &mut self.sad }, config)?;
        if let Some(slot) = self.tunnels.tunnel_mut(tunnel) {
            slot.negotiating = true;
            slot.retry_at = now.after(self.retry_after);
        }
        Ok(())
    }

    /// Gives a tunnel new keys.
    ///
    /// # Errors
    /// [`CommandError::Unknown`] if it is not up.
    pub fn rekey(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        config: ChildRef,
    ) -> Result<(), CommandError> {
        let child = self.child(config).ok_or(CommandError::Unknown)?;
        self.ike.rekey_child(&mut Env { now, rng, spis: &mut self.sad }, child)
    }

    /// Gives an IKE SA new keys.
    ///
    /// # Errors
    /// [`CommandError::Unknown`] if there is no such SA.
    pub fn rekey_ike(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        ike: IkeId,
    ) -> Result<(), CommandError> {
        self.ike.rekey_ike(&mut Env { now, rng, spis: &mut self.sad }, ike)
    }

    /// Takes a tunnel down, on both sides. Traffic brings it up again.
    ///
    /// # Errors
    /// [`CommandError::Unknown`] if it is not up.
    pub fn close(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        config: ChildRef,
    ) -> Result<(), CommandError> {
        let tunnel = self.tunnels.number(config).ok_or(CommandError::Unknown)?;
        let mut found = self.tunnels.current(tunnel).map(|(number, pair)| (number, pair.child()));
        if found.is_none() {
            return Err(CommandError::Unknown);
        }
        while let Some((number, id)) = found {
            found = self.tunnels.after(number).map(|(number, pair)| (number, pair.child()));
            let Some(id) = id else { continue };
            let mut env = Env { now, rng: &mut *rng, spis: &mut self.sad };
            // One that is going down already is fine.
            let _ = self.ike.close_child(&mut env, id);
        }
        Ok(())
    }

    /// Ends an IKE SA and its children, on both sides.
    ///
    /// # Errors
    /// [`CommandError::Unknown`] if there is no such SA.
    pub fn close_ike(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        ike: IkeId,
    ) -> Result<(), CommandError> {
        self.ike.close_ike(&mut Env { now, rng, spis: &mut self.sad }, ike)
    }

    /// Supports MOBIKE (RFC 4555) with those peers whose entry says so
    /// ([`Peer::mobike`](ipsec_ike::config::Peer::mobike)). To be called before anything else. A program that does not call it
    /// links nothing of it.
    pub fn support_mobike(&mut self) {
        self.ike.support_mobike();
    }

    /// Lends memory for the other addresses that peers name, one for each slot of [`Sizes::ike_sas`](crate::Sizes::ike_sas):
    /// where a peer answers no more, they are tried
    /// ([`Ike::remember_addresses`](ipsec_ike::Ike::remember_addresses)).
    pub fn remember_addresses(&mut self, addresses: &'r mut [PeerAddresses]) {
        self.ike.remember_addresses(addresses);
    }

    /// Our address has changed, or another path is to be taken: moves an IKE SA and its children, as
    /// [`Ike::move_ike`](ipsec_ike::Ike::move_ike) says.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub fn move_ike(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        ike: IkeId,
        path: Path,
    ) -> Result<(), CommandError> {
        self.ike.move_ike(&mut Env { now, rng, spis: &mut self.sad }, ike, path)
    }

    /// Our address `from` is gone, and `to` is there: moves all IKE SAs that can be, and gives their number
    /// ([`Ike::move_address`](ipsec_ike::Ike::move_address)). Its cost grows with the number of IKE SAs.
    pub fn move_address(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        from: IpAddr,
        to: IpAddr,
    ) -> usize {
        self.ike.move_address(&mut Env { now, rng, spis: &mut self.sad }, from, to)
    }

    /// Ends all IKE SAs and their children, on both sides: for a program that ends. Drive the gateway until
    /// [`Gateway::is_idle`], or until patience ends. Its cost grows with the number of IKE SAs.
    pub fn close_all(&mut self, now: Instant, rng: &mut dyn CryptoRng) {
        self.ike.close_all(&mut Env { now, rng, spis: &mut self.sad });
    }

    // ---- what the SAD has to say ----

    /// Acts on what happened to SAs by use. At most four events an SA, whatever arrived meanwhile.
    pub(crate) fn pump(&mut self, now: Instant, rng: &mut dyn CryptoRng) {
        while let Some(event) = self.sad.poll_event() {
            let number = event.tag;
            let Some(pair) = self.tunnels.pair_mut(number) else { continue };
            let Some(child) = pair.child() else {
                if let Some(manually) = self.manually {
                    (manually.limit)(self, number, event.kind);
                }
                continue;
            };
            let mut env = Env { now, rng: &mut *rng, spis: &mut self.sad };
            match event.kind {
                SadEventKind::FirstPacket => {
                    // RFC 7296 section 2.8: the peer uses the new SA, so it is ready to receive on it. One that was used before is
                    // no newer for its first packet.
                    let waited = !core::mem::replace(&mut pair.ready, true);
                    if pair.up && waited {
                        self.tunnels.put_first(number);
                    }
                }
                SadEventKind::Soft => self.ike.expired(&mut env, child, false),
                SadEventKind::Hard => {
                    self.tunnels.unlist(number);
                    self.ike.expired(&mut env, child, true);
                }
                SadEventKind::PeerMoved(remote) => self.ike.peer_moved(child, remote),
                // The gateway exports nothing.
                SadEventKind::Export => {}
            }
        }
    }

    // ---- reports ----

    /// Whether there is nothing left to say to any peer: no IKE SA, no child, no negotiation. Scans.
    pub fn is_idle(&self) -> bool {
        self.ike.is_idle()
    }

    /// What was done since the gateway was made.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What is in use. Scans; for reports.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            ike_sas: self.ike.sas_in_use(),
            children: self.ike.children_in_use(),
            handshakes: self.ike.handshakes_in_use(),
            exchanges: self.ike.exchanges_in_use(),
            buffers_free: self.ike.buffers_free(),
            inbound_sas: self.sad.inbound_in_use(),
            outbound_sas: self.sad.outbound_in_use(),
        }
    }

    /// One tunnel; `None` if it is not configured.
    pub fn tunnel(&self, config: ChildRef) -> Option<Tunnel<'r>> {
        self.report(self.tunnels.number(config)?)
    }

    /// All tunnels, in the order of the configuration.
    pub fn tunnels(&self) -> impl Iterator<Item = Tunnel<'r>> + '_ {
        let numbers = 0..u32::try_from(self.tunnels.all().len()).unwrap_or(u32::MAX);
        numbers.filter_map(|number| self.report(number))
    }

    fn report(&self, number: u32) -> Option<Tunnel<'r>> {
        let slot = self.tunnels.tunnel(number)?;
        let config = slot.config;
        let peer = self.ike.config().peers.get(usize::from(config.peer))?;
        let pair = self.tunnels.current(number).map(|(_, pair)| pair);
        let sent = pair.and_then(|pair| self.sad.outbound(pair.outbound?));
        let received = pair.and_then(|pair| self.sad.inbound(pair.inbound?));
        let usage = |u: &ipsec_core::lifetime::Usage| (u.packets, u.bytes);
        Some(Tunnel {
            config,
            child_config: peer.children.get(usize::from(config.child))?,
            child: pair.and_then(PairSlot::child),
            negotiating: slot.negotiating,
            sent: sent.map_or((0, 0), |sa| usage(&sa.protection.usage)),
            received: received.map_or((0, 0), |sa| usage(&sa.protection.usage)),
        })
    }

    /// What sealing adds to a packet of this tunnel, and what that leaves of an MTU; `None` while it is down. Of a bundle,
    /// what both SAs add.
    ///
    /// A device that does not know yet what will be agreed leaves [`MAX_HEADROOM`](crate::MAX_HEADROOM) and
    /// [`MAX_TAILROOM`](crate::MAX_TAILROOM).
    pub fn overhead(&self, config: ChildRef) -> Option<Overhead> {
        let (_, pair) = self.tunnels.current(self.tunnels.number(config)?)?;
        let overhead = Overhead::of(&self.sad.outbound(pair.outbound?)?.protection);
        #[cfg(feature = "ikev1")]
        if let Some(ah) = pair.outbound_around {
            return Some(overhead.inside(&Overhead::of(&self.sad.outbound(ah)?.protection)));
        }
        Some(overhead)
    }

    /// The security association database.
    pub const fn sad(&self) -> &Sad<'r, P> {
        &self.sad
    }

    /// The security policy database.
    pub const fn spd(&self) -> &Spd<'r> {
        &self.spd
    }

    /// The IKE engine.
    pub const fn ike(&self) -> &Ike<'r, P> {
        &self.ike
    }

    /// Peers, their tunnels, and our ports.
    pub const fn config(&self) -> &Config<'r> {
        self.ike.config()
    }

    /// The child SA that a tunnel sends on.
    pub fn child(&self, config: ChildRef) -> Option<ChildId> {
        self.tunnels.current(self.tunnels.number(config)?)?.1.child()
    }
}

/// The selectors of a configured child, from both its sides.
fn selectors(child: &Child<'_>) -> Option<Selectors> {
    let list = |side: &[TrafficSelector]| -> Option<SelectorList> {
        let mut list = SelectorList::new();
        side.iter().try_for_each(|ts| list.push(*ts).ok())?;
        (!list.is_empty()).then_some(list)
    };
    Some(Selectors { local: list(child.local)?, remote: list(child.remote)? })
}

/// Whether the parts of a memory fit together.
fn check<P: Provider>(memory: &Memory<'_, P>) -> Result<(), SetupError> {
    let Memory { sad, ike, pairs, .. } = memory;
    let children = ike.children.len();
    let buffers = ike.buffers.len().checked_div(ike.buffer_len).unwrap_or(0);
    let (sas, handshakes, exchanges) = (ike.sas.len(), ike.handshakes.len(), ike.exchanges.len());
    let deadlines =
        sas.saturating_add(handshakes).saturating_add(exchanges).saturating_add(children);
    let links = IkeMemory::<P>::links(sas, handshakes, exchanges, children, buffers);
    let sas_of_children = sad.inbound.len().saturating_add(sad.outbound.len());
    let parts = [
        (Part::InboundSas, sad.inbound.len(), children),
        (Part::OutboundSas, sad.outbound.len(), children),
        (Part::SadLinks, sad.links.len(), sas_of_children.saturating_mul(2)),
        (Part::Pairs, pairs.len(), children),
        (Part::IkeLinks, ike.links.len(), links),
        (Part::Deadlines, ike.deadlines.len(), deadlines),
    ];
    match parts.iter().find(|(_, there, needed)| there < needed) {
        Some((part, _, needed)) => Err(SetupError::Memory(*part, *needed)),
        None => Ok(()),
    }
}
