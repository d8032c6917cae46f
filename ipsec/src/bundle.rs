//! Bundles: children of IKEv1 whose ESP lies in AH, both negotiated as one (RFC 2401 section 4.3, transport adjacency).
//!
//! ```text
//!  out   packet -> ESP of the child -> AH around it                               IP | AH | ESP | ...
//!  in    AH, found by its SPI -> is ESP of the same child inside? -> ESP -> packet
//! ```
//!
//! No packet finds the inbound SA of ESP: it is hidden, and shown for as long as its packet, just taken out of AH, is
//! opened. So whoever takes AH off a packet does not get it in, and moves no window either.

use ipsec_core::crypto::Provider;
use ipsec_core::mode::Mode;
use ipsec_core::sa::{Protocol, SaParams, Spi};
use ipsec_core::sad::{InstallError, Sad, SpiAllocator};
use ipsec_core::selector::Selectors;
use ipsec_core::time::Instant;
use ipsec_core::wire::{Fragment, IpPacket, protocol};
use ipsec_esp::{Audit, OpenError, Opened};
use ipsec_ike::Env;
use ipsec_ike::event::{AhParams, ChildId, Direction};
use rand_core::CryptoRng;

use crate::gateway::Gateway;
use crate::inbound::{InboundError, Received, Via};
use crate::nested::{audit, selectors_around};
use crate::poll::receiver;
use crate::tunnel::{Owner, PairSlot};

/// Installs ESP and AH of one direction, or neither.
pub(crate) fn install<P: Provider>(
    sad: &mut Sad<'_, P>,
    pair: &mut PairSlot,
    now: Instant,
    (child, direction): (ChildId, Direction),
    params: &SaParams<'_>,
    around: &AhParams<'_>,
) -> Result<(), InstallError> {
    let outside = selectors_around(&params.path, params.protection.protocol());
    match direction {
        Direction::Inbound => {
            let params = SaParams { lifetime: receiver(params.lifetime), ..params.clone() };
            let ah = sad.install_inbound(now, &of_ah(&params, around, &outside));
            let both = ah.and_then(|ah| match sad.install_inbound(now, &params) {
                Ok(esp) => Ok((esp, ah)),
                Err(e) => {
                    sad.remove_inbound(ah);
                    Err(e)
                }
            });
            match both {
                Ok((esp, ah)) => {
                    sad.hide_inbound(esp, true);
                    (pair.inbound, pair.inbound_around) = (Some(esp), Some(ah));
                }
                Err(e) => {
                    // That of ESP goes back when the child goes.
                    sad.release(around.spi);
                    pair.owner = Owner::Child { id: child, refused: Some(params.spi) };
                    return Err(e);
                }
            }
        }
        Direction::Outbound => {
            let ah = sad.install_outbound(now, &of_ah(params, around, &outside))?;
            match sad.install_outbound(now, params) {
                Ok(esp) => (pair.outbound, pair.outbound_around) = (Some(esp), Some(ah)),
                Err(e) => {
                    sad.remove_outbound(ah);
                    return Err(e);
                }
            }
        }
    }
    Ok(())
}

impl<P: Provider> Gateway<'_, P> {
    /// Opens what has come out of an SA of a bundle: out of AH, if all is right, and then out of ESP, too.
    pub(crate) fn open_bundle<'b>(
        &mut self,
        now: Instant,
        base: usize,
        opened: Opened,
        packet: &'b mut [u8],
    ) -> Result<Received<'b>, InboundError> {
        let refused = InboundError::NotNested(audit(&opened));
        let pair = self.tunnels.pair(opened.tag).ok_or(refused)?;
        let child = pair.child().ok_or(refused)?;
        let inside = pair.inbound.filter(|_| pair.inbound_around == Some(opened.id));
        let inside = inside.ok_or(refused)?;
        let config = self.tunnels.tunnel(pair.tunnel).ok_or(refused)?.config;
        // Of another SA nothing is opened: its window is none of this peer's business.
        if spi_inside(packet).and_then(|spi| self.sad.hidden(Protocol::Esp, spi)) != Some(inside) {
            return Err(refused);
        }
        self.sad.hide_inbound(inside, false);
        let found = ipsec_esp::inbound_ip(&mut self.sad, now, packet);
        self.sad.hide_inbound(inside, true);
        match found {
            Ok(ipsec_esp::Inbound::Packet { opened, packet }) if opened.id == inside => {
                self.ike.heard(now, child);
                Ok(self.received_via(base, opened, packet, Via::Child { config, child }))
            }
            Ok(_) => Err(refused),
            Err(e) => Err(InboundError::Open(e)),
        }
    }

    /// Why a packet was dropped that no SA was found for: it may be of a bundle, and have come without its AH; or of a child
    /// that is gone, which the peer may not know.
    pub(crate) fn not_found(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        error: OpenError,
    ) -> InboundError {
        match error {
            OpenError::UnknownSpi(audit) if self.is_hidden(audit) => InboundError::NotNested(audit),
            OpenError::UnknownSpi(audit) => {
                let mut env = Env { now, rng, spis: &mut self.sad };
                self.ike.handle_unknown_spi(&mut env, audit.spi);
                InboundError::Open(error)
            }
            error => InboundError::Open(error),
        }
    }

    fn is_hidden(&self, Audit { spi, .. }: Audit) -> bool {
        Spi::new(spi).is_some_and(|spi| self.sad.hidden(Protocol::Esp, spi).is_some())
    }
}

/// The SA of AH around that of ESP.
fn of_ah<'p>(
    params: &SaParams<'_>,
    around: &AhParams<'p>,
    selectors: &'p Selectors,
) -> SaParams<'p> {
    SaParams {
        spi: around.spi,
        protection: around.protection,
        mode: Mode::TRANSPORT,
        keymat: around.keymat,
        path: params.path,
        encapsulation: params.encapsulation,
        esn: params.esn,
        replay_window: params.replay_window,
        lifetime: params.lifetime,
        selectors,
        tag: params.tag,
    }
}

/// The SPI of a packet of ESP.
fn spi_inside(packet: &[u8]) -> Option<Spi> {
    let ip = IpPacket::parse(packet).ok()?;
    let whole = ip.flow.protocol == protocol::ESP && ip.fragment == Fragment::Whole;
    let spi = packet.get(ip.upper..)?.first_chunk().filter(|_| whole)?;
    Spi::new(u32::from_be_bytes(*spi))
}
