//! What an engine hands out: datagrams and events.

use ipsec_core::bytes;
#[cfg(feature = "ikev1")]
use ipsec_core::crypto::Integ;
use ipsec_core::crypto::Provider;
use ipsec_core::lifetime::Lifetime;
use ipsec_core::mode::{Mode, Tunnel};
use ipsec_core::path::Path;
use ipsec_core::sa::{Algorithms, Encapsulation, SaParams, Spi};

use crate::buffers::BufferId;
use crate::child_sa::{self, ChildState};
use crate::engine::{Ike, Node, Refused, Transmit};
use crate::error::BufferTooSmall;
#[cfg(feature = "ikev1")]
use crate::event::AhParams;
use crate::event::{ChildAgreed, Direction, Event};
use crate::exchange::{Kind, Stage};
use crate::fragment;
use crate::ike_sa::{self, SaState};
use crate::keymat::Role;

/// What stands before an IKE message on the port that ESP uses too (RFC 3948 section 2.2).
const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// What keeps a NAT's mapping (RFC 3948 section 2.3).
const KEEPALIVE: [u8; 1] = [0xff];

/// An event that was decided on, but not yet lent.
#[derive(Clone, Copy)]
enum Told {
    Keys(u32),
    IkeUp(u32),
    IkeRekeyed(u32),
    IkeDown(u32),
    Given(u32),
    Install(u32, Direction),
    Failed(u32),
    ChildUp(u32),
    ChildMoved(u32),
    ChildLeaves(u32),
    ChildDown(u32),
}

impl<P: Provider> Ike<'_, P> {
    /// The next datagram to send, copied into `buf`: a UDP payload, with the non-ESP marker where one belongs.
    ///
    /// Call again after every `handle_*`, `installed`, [`Ike::poll_event`] and command, until `None`. A message whose
    /// install the caller has not answered for is held back.
    ///
    /// # Errors
    /// [`BufferTooSmall`], with nothing changed. The largest message has as many bytes as a buffer of the engine, and
    /// four more.
    #[must_use = "the datagram has to be sent"]
    pub fn poll_transmit(&mut self, buf: &mut [u8]) -> Result<Option<Transmit>, BufferTooSmall> {
        if !self.reply.message.is_none() {
            let path = self.reply.path;
            let len = self.copy_out(self.buffers.bytes(self.reply.message), path, buf)?;
            self.buffers.release(&mut self.reply.message);
            return Ok(Some(Transmit { path, len }));
        }
        while let Some(number) = self.transmits.first() {
            let (sent, more) =
                match number.checked_sub(u32::try_from(self.contexts.len()).unwrap_or(0)) {
                    Some(sa) => (self.keepalive(sa, buf)?, false),
                    None => self.message(number, buf)?,
                };
            if !more {
                let _ = self.transmits.pop();
            }
            if let Some(transmit) = sent {
                return Ok(Some(transmit));
            }
        }
        Ok(None)
    }

    /// The message of an exchange, or its next fragment, and whether there are more.
    fn message(
        &mut self,
        number: u32,
        buf: &mut [u8],
    ) -> Result<(Option<Transmit>, bool), BufferTooSmall> {
        let Some(x) = self.contexts.exchange(number) else { return Ok((None, false)) };
        if !matches!(x.stage, Stage::Response | Stage::Answered) {
            return Ok((None, false));
        }
        let message = self.outgoing(number);
        let path = match self.sas.get(x.sa as usize) {
            Some(slot) if x.ours && x.kind != Kind::SaInit => slot.sa.path,
            _ => x.path,
        };
        #[cfg(feature = "ikev1")]
        if let Some(longest) = self.v1_cut(number, message, path) {
            return self.v1_fragment(number, message, path, longest, buf);
        }
        let rest = self.buffers.bytes(message).get(x.sent..).unwrap_or_default();
        let next = fragment::next_len(rest);
        let len = self.copy_out(rest.get(..next).unwrap_or_default(), path, buf)?;
        let more = next < rest.len();
        if let Some(x) = self.contexts.get(number) {
            x.sent = if more { x.sent.saturating_add(next) } else { 0 };
        }
        Ok((Some(Transmit { path, len }), more))
    }

    /// The message of an exchange that is, or was, sent.
    fn outgoing(&self, number: u32) -> BufferId {
        let Some(x) = self.contexts.exchange(number) else { return BufferId::NONE };
        match self.contexts.handshakes.get(number as usize) {
            Some(slot) if x.kind == Kind::SaInit && x.ours => slot.handshake.request,
            Some(slot) if x.kind == Kind::SaInit => slot.handshake.response,
            _ => x.message,
        }
    }

    fn keepalive(
        &mut self,
        number: u32,
        buf: &mut [u8],
    ) -> Result<Option<Transmit>, BufferTooSmall> {
        let Some(sa) = self.sas.get_mut(number as usize).filter(|s| s.sa.keepalive_due) else {
            return Ok(None);
        };
        let needed = KEEPALIVE.len();
        bytes::copy_prefix(buf, &KEEPALIVE).ok_or(BufferTooSmall { needed })?;
        sa.sa.keepalive_due = false;
        Ok(Some(Transmit { path: sa.sa.path, len: needed }))
    }

    /// What stands before a message.
    pub(crate) const fn marker(&self, path: Path) -> &'static [u8] {
        let plain = path.local.port == self.config.ports.ike;
        if plain { &[] } else { &NON_ESP_MARKER }
    }

    fn copy_out(
        &self,
        message: &[u8],
        path: Path,
        buf: &mut [u8],
    ) -> Result<usize, BufferTooSmall> {
        let marker = self.marker(path);
        let needed = marker.len().saturating_add(message.len());
        let mut writer =
            bytes::Writer::new(buf.get_mut(..needed).ok_or(BufferTooSmall { needed })?);
        let written = writer.bytes(marker).and_then(|()| writer.bytes(message));
        written.map(|()| needed).ok_or(BufferTooSmall { needed })
    }

    /// What happened, or what is to be done.
    ///
    /// Call again after every `handle_*`, `installed` and command, until `None`, and before [`Ike::poll_transmit`]:
    /// messages wait for the installs that must precede them.
    #[inline(never)]
    #[must_use = "an install has to be answered"]
    pub fn poll_event(&mut self) -> Option<Event<'_>> {
        if let Some(refused) = self.refusal.take() {
            let Refused { peer, child, path, failure } = refused;
            return Some(Event::Failed { peer, child, path, ours: false, failure });
        }
        let told = loop {
            let node = self.events.first()?;
            let told = match self.node(node) {
                Node::Sa(number) => self.tell_sa(number),
                Node::Context(number) => self.tell_context(number),
                Node::Child(number) => self.tell_child(number),
            };
            match told {
                Some(told) => break told,
                None => {
                    let _ = self.events.pop();
                }
            }
        };
        self.lend(told)
    }

    fn tell_sa(&mut self, number: u32) -> Option<Told> {
        let sa = self.sa(number)?;
        let lowest = sa.tell & sa.tell.wrapping_neg();
        sa.tell &= !lowest;
        match lowest {
            ike_sa::tell::KEYS => Some(Told::Keys(number)),
            ike_sa::tell::UP => Some(Told::IkeUp(number)),
            ike_sa::tell::REKEYED => Some(Told::IkeRekeyed(number)),
            ike_sa::tell::DOWN => Some(Told::IkeDown(number)),
            ike_sa::tell::GIVEN => {
                sa.tell |= ike_sa::tell::FORGET;
                Some(Told::Given(number))
            }
            ike_sa::tell::FORGET => {
                self.forget_given(number);
                None
            }
            _ => None,
        }
    }

    fn tell_context(&mut self, number: u32) -> Option<Told> {
        let x = self.contexts.get(number)?;
        match x.stage {
            Stage::Install(direction) if !x.install_told => {
                x.install_told = true;
                // From here on the caller has the SPI, and is told when the child goes.
                let child = x.negotiation.child.checked_sub(1);
                if let Some(child) = child.and_then(|c| self.child(c)) {
                    child.installed = true;
                }
                Some(Told::Install(number, direction))
            }
            Stage::Ended if !x.failure.is_nothing() => Some(Told::Failed(number)),
            _ => None,
        }
    }

    fn tell_child(&mut self, number: u32) -> Option<Told> {
        let child = self.child(number)?;
        let lowest = child.tell & child.tell.wrapping_neg();
        child.tell &= !lowest;
        match lowest {
            child_sa::tell::UP => Some(Told::ChildUp(number)),
            child_sa::tell::MOVED => Some(Told::ChildMoved(number)),
            child_sa::tell::LEAVES => Some(Told::ChildLeaves(number)),
            child_sa::tell::DOWN => Some(Told::ChildDown(number)),
            _ => None,
        }
    }

    fn lend(&mut self, told: Told) -> Option<Event<'_>> {
        match told {
            Told::Keys(number) => {
                let sa = &self.sas.get(number as usize)?.sa;
                #[cfg(feature = "ikev1")]
                if let Some(phase1) = sa.keys.v1() {
                    let (key, skeyid_a) = (phase1.keys.key(), phase1.keys.skeyid_a());
                    return Some(Event::IkeKeys {
                        initiator_spi: sa.spi_i,
                        responder_spi: sa.spi_r,
                        suite: sa.choice.suite,
                        encryption: (key, key),
                        integrity: (skeyid_a, skeyid_a),
                    });
                }
                let keys = sa.keys.v2();
                Some(Event::IkeKeys {
                    initiator_spi: sa.spi_i,
                    responder_spi: sa.spi_r,
                    suite: sa.choice.suite,
                    encryption: (
                        keys.encryption(Role::Initiator),
                        keys.encryption(Role::Responder),
                    ),
                    integrity: (keys.integrity(Role::Initiator), keys.integrity(Role::Responder)),
                })
            }
            Told::IkeUp(number) => {
                let ike = self.ike_id(number);
                let sa = self.sa(number)?;
                Some(Event::IkeUp { ike, peer: sa.peer, path: sa.path, agreed: sa.agreed() })
            }
            Told::IkeRekeyed(number) => {
                let ike = self.ike_id(number);
                let sa = self.sa(number)?;
                let replaces = sa.replaces?;
                Some(Event::IkeRekeyed { ike, replaces, peer: sa.peer, agreed: sa.agreed() })
            }
            Told::IkeDown(number) => {
                let ike = self.ike_id(number);
                let sa = self.sa(number)?;
                let (peer, reason) = (sa.peer, sa.down);
                if sa.state != SaState::Deleted {
                    self.release_sa(number);
                }
                Some(Event::IkeDown { ike, peer, reason })
            }
            Told::Given(number) => {
                let ike = self.ike_id(number);
                let peer = self.sa(number)?.peer;
                Some(Event::Configured { ike, peer, given: self.given(number)? })
            }
            Told::Install(number, direction) => self.lend_install(number, direction),
            Told::Failed(number) => {
                let x = self.contexts.get(number)?;
                let (child, failure) = x.failure.take()?;
                let (path, sa, ours) = (x.path, x.sa, x.ours);
                let peer = match (child, self.sa(sa)) {
                    (Some(child), _) => Some(child.peer),
                    (None, Some(sa)) => Some(sa.peer),
                    (None, None) => None,
                };
                self.free_context(number);
                Some(Event::Failed { peer, child, path, ours, failure })
            }
            Told::ChildUp(number) => {
                let id = self.child_id(number);
                let child = self.child(number)?;
                let agreed = ChildAgreed {
                    inbound_spi: Spi::new(child.spi_in)?,
                    outbound_spi: Spi::new(child.spi_out)?,
                    suite: child.choice.suite,
                    #[cfg(feature = "ikev1")]
                    around: child.around.agreed(),
                    esn: child.choice.esn,
                    group: child.choice.group,
                    additional: child.choice.additional.0,
                    encapsulated: child.encapsulated,
                    transport: child.transport,
                };
                let (config, replaces, traffic, sa) =
                    (child.config, child.replaces, child.traffic, child.ike);
                let ike = self.ike_id(sa);
                Some(Event::ChildUp { child: id, config, ike, replaces, traffic, agreed })
            }
            Told::ChildMoved(number) => {
                let id = self.child_id(number);
                let (sa, encapsulated) = self.child(number).map(|c| (c.ike, c.encapsulated))?;
                let path = self.sas.get(sa as usize)?.sa.data_path(encapsulated);
                Some(Event::ChildMoved { child: id, path })
            }
            Told::ChildLeaves(number) => {
                let id = self.child_id(number);
                let config = self.child(number)?.config;
                Some(Event::ChildLeaves { child: id, config })
            }
            Told::ChildDown(number) => {
                let id = self.child_id(number);
                let child = self.child(number)?;
                let (config, reason) = (child.config, child.reason);
                if child.state == ChildState::Down {
                    self.release_child(number);
                }
                Some(Event::ChildDown { child: id, config, reason })
            }
        }
    }

    fn lend_install(&self, number: u32, direction: Direction) -> Option<Event<'_>> {
        let x = self.contexts.exchange(number)?;
        let slot = x.negotiation.child.checked_sub(1)?;
        let child = &self.children.get(slot as usize)?.child;
        let sa = &self.sas.get(child.ike as usize)?.sa;
        let peer = self.config.peers.get(usize::from(child.config.peer))?;
        let config = peer.children.get(usize::from(child.config.child))?;
        // Keying material goes to the data of the exchange's initiator first (RFC 7296 section 2.17).
        let (us, them) = if x.ours {
            (Role::Initiator, Role::Responder)
        } else {
            (Role::Responder, Role::Initiator)
        };
        let (spi, sender) = match direction {
            Direction::Inbound => (child.spi_in, them),
            Direction::Outbound => (child.spi_out, us),
        };
        let encapsulated = child.encapsulated;
        let path = sa.data_path(encapsulated);
        let id = self.child_id(slot);
        let protection = match Algorithms::from(child.choice.suite) {
            Algorithms::Ah(integ, _) => Algorithms::Ah(integ, config.ah_align),
            esp => esp,
        };
        let mode = if child.transport {
            Mode::Transport { original: x.negotiation.original.as_ref().copied() }
        } else {
            let pad_to = if child.no_tfc { 0 } else { config.tunnel.pad_to };
            Mode::Tunnel(Tunnel { pad_to, ..config.tunnel })
        };
        #[cfg(feature = "ikev1")]
        let lifetime = x.v1.lifetime.shorten(config.lifetime);
        #[cfg(not(feature = "ikev1"))]
        let lifetime = config.lifetime;
        let params = SaParams {
            spi: Spi::new(spi)?,
            protection,
            mode,
            keymat: x.negotiation.keys.of(sender),
            path,
            encapsulation: if encapsulated { Encapsulation::Udp } else { Encapsulation::Ip },
            esn: child.choice.esn,
            replay_window: config.replay_window,
            // Time is watched by the engine: the SAD is told of the other limits, and of the last moment.
            lifetime: Lifetime {
                soft: ipsec_core::lifetime::Limits {
                    time: core::time::Duration::MAX,
                    ..lifetime.soft
                },
                hard: lifetime.hard,
            },
            selectors: &x.negotiation.selectors,
            tag: slot,
        };
        #[cfg(feature = "ikev1")]
        if child.around.integ != Integ::NONE {
            let spi = match direction {
                Direction::Inbound => child.around.spi_in,
                Direction::Outbound => child.around.spi_out,
            };
            let around = AhParams {
                spi: Spi::new(spi)?,
                protection: Algorithms::Ah(child.around.integ, config.ah_align),
                keymat: x.negotiation.keys_around.of(sender),
            };
            return Some(Event::InstallBundle { child: id, direction, params, around });
        }
        Some(Event::Install { child: id, direction, params })
    }
}
