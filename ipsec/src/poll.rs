//! What a gateway hands out: events, jobs and IKE datagrams. Installing SAs happens on the way.

use core::net::IpAddr;

use ipsec_core::bytes;
use ipsec_core::crypto::Provider;
use ipsec_core::lifetime::{Lifetime, Limits};
use ipsec_core::path::Path;
use ipsec_core::sa::SaParams;
use ipsec_core::sad::{InstallError, OutboundId};
use ipsec_core::time::Instant;
use ipsec_core::wire::{Checksum, Ipv4Header, Ipv6Header, UdpHeader, protocol};
use ipsec_ike::auth::Authenticator;
use ipsec_ike::event::{ChildId, ChildRef, Direction, DownReason, Event, Given, Traffic};
use ipsec_ike::jobs::{Answer, Job, JobId, run_jobs, run_jobs_with};
use ipsec_ike::{BufferTooSmall, Env, Transmit};
use rand_core::CryptoRng;
use zerocopy::IntoBytes;
use zerocopy::network_endian::U16;

#[cfg(feature = "ikev1")]
use crate::bundle;
use crate::event::{EspKeysLog, GatewayEvent, IkeKeysLog};
use crate::gateway::Gateway;
use crate::tunnel::{self, Owner, SAS};

/// What became of one event of the engine.
enum Step {
    /// Nothing to tell.
    Done,
    /// To be told.
    Tell(GatewayEvent),
    /// The engine waits to hear how an install went.
    Installed(ChildId, Direction, Result<(), InstallError>, Option<EspKeysLog>),
}

impl<P: Provider> Gateway<'_, P> {
    /// What happened. On the way, SAs are installed, switched over and removed, so that it must be called even by a
    /// program that wants to know nothing.
    ///
    /// Call again after every `inbound*`, `outbound`, `handle_*` and command, until `None`, and before
    /// [`Gateway::poll_transmit`].
    #[inline(never)]
    #[must_use = "call it until it gives None"]
    pub fn poll_event(&mut self, now: Instant, rng: &mut dyn CryptoRng) -> Option<GatewayEvent> {
        self.pump(now, rng);
        if let Some(manually) = self.manually
            && let Some(event) = (manually.event)(self)
        {
            return Some(event);
        }
        loop {
            match self.step(now)? {
                Step::Done => {}
                Step::Tell(event) => return Some(event),
                Step::Installed(child, direction, result, keys) => {
                    let mut env = Env { now, rng: &mut *rng, spis: &mut self.sad };
                    self.ike.installed(&mut env, child, direction, result.map_err(drop));
                    if let Err(error) = result {
                        return Some(GatewayEvent::InstallFailed { child, direction, error });
                    }
                    if let Some(keys) = keys {
                        return Some(GatewayEvent::EspKeys(keys));
                    }
                }
            }
        }
    }

    /// Acts on one event of the engine.
    #[inline(never)]
    fn step(&mut self, now: Instant) -> Option<Step> {
        let key_log = self.ike.config().key_log;
        Some(match self.ike.poll_event()? {
            Event::Install { child, direction, params } => {
                let result = match self.tunnels.find_or_add(child) {
                    None => Err(InstallError::Full),
                    Some(pair) => match direction {
                        Direction::Inbound => {
                            let lifetime = receiver(params.lifetime);
                            let params = SaParams { lifetime, ..params.clone() };
                            let installed = self.sad.install_inbound(now, &params);
                            match installed {
                                Ok(id) => pair.inbound = Some(id),
                                Err(_) => {
                                    pair.owner =
                                        Owner::Child { id: child, refused: Some(params.spi) };
                                }
                            }
                            installed.map(drop)
                        }
                        Direction::Outbound => {
                            let installed = self.sad.install_outbound(now, &params);
                            pair.outbound = installed.ok();
                            self.path_mtus.installed(params.tag, params.spi.get());
                            installed.map(drop)
                        }
                    },
                };
                let keys = if key_log && result.is_ok() {
                    EspKeysLog::new(child, direction, &params)
                } else {
                    None
                };
                Step::Installed(child, direction, result, keys)
            }
            #[cfg(feature = "ikev1")]
            Event::InstallBundle { child, direction, params, around } => {
                let result = match self.tunnels.find_or_add(child) {
                    None => Err(InstallError::Full),
                    Some(pair) => {
                        let (sad, which) = (&mut self.sad, (child, direction));
                        bundle::install(sad, pair, now, which, &params, &around)
                    }
                };
                if direction == Direction::Outbound {
                    self.path_mtus.installed(params.tag, around.spi.get());
                }
                let keys = if key_log && result.is_ok() {
                    EspKeysLog::of_bundle(child, direction, &params, &around)
                } else {
                    None
                };
                Step::Installed(child, direction, result, keys)
            }
            Event::ChildUp { child, config, ike, replaces, traffic, agreed } => {
                let Some(tunnel) = self.tunnels.number(config) else { return Some(Step::Done) };
                if let Some(slot) = self.tunnels.tunnel_mut(tunnel) {
                    slot.negotiating = false;
                    slot.retry_at = Instant::ZERO;
                }
                let Some((number, pair)) = self.tunnels.find(child) else {
                    return Some(Step::Done);
                };
                let policy = self.first_tunnel.saturating_add(tunnel as usize);
                let asked = self.spd.policies().get(policy);
                let sa = pair.inbound.and_then(|id| self.sad.inbound(id));
                pair.whole = match (sa, asked) {
                    (Some(sa), Some(policy)) => tunnel::covers(&sa.selectors, &policy.selectors),
                    _ => false,
                };
                pair.tunnel = tunnel;
                pair.up = true;
                pair.ready |= traffic == Traffic::Now;
                let (ready, outbound) = (pair.ready, pair.outbound);
                if ready {
                    self.tunnels.put_first(number);
                } else {
                    self.tunnels.put_last(number);
                }
                let path = outbound.and_then(|id| self.sad.outbound(id));
                let path = path.map_or(Path::UNSPECIFIED, |sa| sa.protection.path);
                Step::Tell(match replaces {
                    None => GatewayEvent::ChildUp { child, config, ike, path, agreed },
                    Some(replaces) => {
                        self.path_mtus.inherited(replaces.index(), number);
                        self.counters.rekeys = self.counters.rekeys.saturating_add(1);
                        GatewayEvent::ChildRekeyed { child, replaces, config, ike, path, agreed }
                    }
                })
            }
            Event::ChildLeaves { child, config } => {
                let Some((number, _)) = self.tunnels.find(child) else {
                    return Some(Step::Done);
                };
                self.tunnels.unlist(number);
                let pair = self.tunnels.pair_mut(number)?;
                pair.up = false; // its end is told now
                let (tunnel, outbounds) = (pair.tunnel, pair.take_outbounds());
                self.remove_outbounds(outbounds);
                self.ended(tunnel, child, config, DownReason::Rekeyed)
            }
            Event::ChildDown { child, config, reason } => {
                let Some((number, pair)) = self.tunnels.find(child) else {
                    return Some(Step::Done);
                };
                let (tunnel, up, owner) = (pair.tunnel, pair.up, pair.owner);
                let (inbounds, outbounds) = (pair.inbounds(), pair.outbounds());
                for id in inbounds.into_iter().flatten() {
                    self.sad.remove_inbound(id);
                }
                self.remove_outbounds(outbounds);
                if let Owner::Child { refused: Some(spi), .. } = owner {
                    ipsec_core::sad::SpiAllocator::release(&mut self.sad, spi);
                }
                self.tunnels.remove(number);
                if !up {
                    return Some(Step::Done);
                }
                self.ended(tunnel, child, config, reason)
            }
            Event::ChildMoved { child, path } => {
                let Some((number, pair)) = self.tunnels.find(child) else {
                    return Some(Step::Done);
                };
                // Both SAs of a bundle are of the same packets. AH does not get through a NAT that changes their addresses:
                // nothing does, until the peer asks for another child, or is back.
                let (tunnel, inbounds, outbounds) =
                    (pair.tunnel, pair.inbounds(), pair.outbounds());
                self.path_mtus.moved(number);
                for id in outbounds.into_iter().flatten() {
                    self.sad.move_outbound(id, path);
                }
                for id in inbounds.into_iter().flatten() {
                    self.sad.move_inbound(id, path);
                }
                match self.tunnels.tunnel(tunnel).map(|slot| slot.config) {
                    Some(config) => Step::Tell(GatewayEvent::ChildMoved { child, config, path }),
                    None => Step::Done,
                }
            }
            Event::IkeUp { ike, peer, path, agreed } => {
                Step::Tell(GatewayEvent::IkeUp { ike, peer, path, agreed })
            }
            Event::Configured { ike, peer, given } if cfg!(feature = "configuration") => {
                Step::Tell(GatewayEvent::Configured { ike, peer, given: Given::of(&given) })
            }
            Event::IkeRekeyed { ike, replaces, peer, agreed } => {
                self.counters.ike_rekeys = self.counters.ike_rekeys.saturating_add(1);
                Step::Tell(GatewayEvent::IkeRekeyed { ike, replaces, peer, agreed })
            }
            Event::IkeDown { ike, peer, reason } => {
                Step::Tell(GatewayEvent::IkeDown { ike, peer, reason })
            }
            Event::Failed { peer, child, path, ours, failure } => {
                let retry_at = now.after(self.retry_after);
                match (child, peer) {
                    (Some(config), _) if ours => self.tunnels.give_up(config, retry_at),
                    // It is not known which of the peer's tunnels it is about. What others asked for is no reason to
                    // give up what we did.
                    (None, Some(peer)) if ours => self.tunnels.give_up_all(peer, retry_at),
                    _ => {}
                }
                Step::Tell(GatewayEvent::Failed { peer, child, path, failure })
            }
            Event::IkeKeys { initiator_spi, responder_spi, suite, encryption, integrity } => {
                Step::Tell(GatewayEvent::IkeKeys(IkeKeysLog::new(
                    initiator_spi,
                    responder_spi,
                    suite,
                    encryption,
                    integrity,
                )))
            }
            _ => Step::Done,
        })
    }

    #[inline(never)]
    fn remove_outbounds(&mut self, all: [Option<OutboundId>; SAS]) {
        for id in all.into_iter().flatten() {
            self.sad.remove_outbound(id);
        }
    }

    /// Tells that a child SA is gone.
    #[inline(never)]
    fn ended(&self, tunnel: u32, child: ChildId, config: ChildRef, reason: DownReason) -> Step {
        let tunnel_up = self.tunnels.current(tunnel).is_some();
        Step::Tell(GatewayEvent::ChildDown { child, config, reason, tunnel_up })
    }

    // ---- jobs ----

    /// Names a job that waits to be done, once: for a program that does slow cryptography elsewhere. Others call
    /// [`Gateway::run_jobs`].
    ///
    /// Call again after every input and every [`Gateway::poll_event`], until `None`.
    #[must_use]
    pub fn poll_job(&mut self) -> Option<JobId> {
        self.ike.poll_job()
    }

    /// The inputs of a job, as often as asked, until it is answered or its exchange is over.
    pub fn job(&self, id: JobId) -> Option<Job<'_, P>> {
        self.ike.job(id)
    }

    /// Takes the answer to a job. One that is late, repeated or of the wrong kind is ignored. Then do steps 5 and 6 of
    /// the [driving loop](crate#the-driving-loop).
    pub fn handle_job(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        id: JobId,
        answer: Answer<'_, P>,
    ) {
        self.ike.handle_job(&mut Env { now, rng, spis: &mut self.sad }, id, answer);
    }

    /// Does every job that waits, here and now. Says whether there was one: then [`Gateway::poll_event`] may have more
    /// to tell.
    #[inline(never)]
    pub fn run_jobs(&mut self, now: Instant, rng: &mut dyn CryptoRng) -> bool {
        run_jobs(&mut self.ike, &mut Env { now, rng, spis: &mut self.sad })
    }

    /// As [`Gateway::run_jobs`], with the signatures of those peers that need them.
    #[inline(never)]
    pub fn run_jobs_with(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        authenticator: &dyn Authenticator,
    ) -> bool {
        run_jobs_with(&mut self.ike, &mut Env { now, rng, spis: &mut self.sad }, authenticator)
    }

    /// Step 5 of the [driving loop](crate#the-driving-loop): tells what happened and does the jobs that wait, until
    /// nothing is left of either.
    pub fn settle(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        mut on_event: impl FnMut(GatewayEvent),
    ) {
        loop {
            while let Some(event) = self.poll_event(now, rng) {
                on_event(event);
            }
            if !self.run_jobs(now, rng) {
                return;
            }
        }
    }

    /// As [`Gateway::settle`], with the signatures of those peers that need them.
    pub fn settle_with(
        &mut self,
        now: Instant,
        rng: &mut dyn CryptoRng,
        authenticator: &dyn Authenticator,
        mut on_event: impl FnMut(GatewayEvent),
    ) {
        loop {
            while let Some(event) = self.poll_event(now, rng) {
                on_event(event);
            }
            if !self.run_jobs_with(now, rng, authenticator) {
                return;
            }
        }
    }

    // ---- datagrams ----

    /// The next IKE datagram to send: the first [`Transmit::len`] bytes of `buf` are a UDP payload for
    /// [`Transmit::path`].
    ///
    /// Call again after step 5 of the [driving loop](crate#the-driving-loop), until `None`.
    ///
    /// # Errors
    /// [`BufferTooSmall`], with nothing changed. Four bytes more than the engine's buffers have are enough.
    #[must_use = "the datagram has to be sent"]
    pub fn poll_transmit(&mut self, buf: &mut [u8]) -> Result<Option<Transmit>, BufferTooSmall> {
        let transmit = self.ike.poll_transmit(buf)?;
        if transmit.is_some() {
            self.counters.ike_out = self.counters.ike_out.saturating_add(1);
        }
        Ok(transmit)
    }

    /// The same as a whole IP packet, with checksums: for an IP stack of one's own. IPv4 routers may not fragment it.
    ///
    /// # Errors
    /// [`BufferTooSmall`], with nothing changed. 52 bytes more than the engine's buffers have are enough.
    #[must_use = "the datagram has to be sent"]
    pub fn poll_transmit_ip<'b>(
        &mut self,
        buf: &'b mut [u8],
    ) -> Result<Option<&'b mut [u8]>, BufferTooSmall> {
        let needed = Ipv6Header::LEN + UdpHeader::LEN;
        let more = |e: BufferTooSmall| BufferTooSmall { needed: e.needed.saturating_add(needed) };
        let body = buf.get_mut(needed..).ok_or(BufferTooSmall { needed })?;
        let Some(transmit) = self.poll_transmit(body).map_err(more)? else { return Ok(None) };
        Ok(wrap(buf, needed, &transmit))
    }
}

/// The lifetime of an SA that we receive on. Its sender counts the same packets, so that both sides would begin to
/// rekey at the same moment: the receiver waits for a little more, and then begins only if the sender did not.
pub(crate) fn receiver(lifetime: Lifetime) -> Lifetime {
    let later = |soft: u64, hard: u64, least: u64| {
        soft.saturating_add((soft / 8).max(least).min(hard.saturating_sub(soft) / 2))
    };
    let Lifetime { soft, hard } = lifetime;
    let soft = Limits {
        bytes: later(soft.bytes, hard.bytes, 0x1_0000),
        packets: later(soft.packets, hard.packets, 64),
        ..soft
    };
    Lifetime { soft, hard }
}

/// Time to live of IKE packets.
const HOP_LIMIT: u8 = 64;

/// Puts IP and UDP headers before the datagram that lies at `at` in `buf`. `None` if its path cannot carry it.
fn wrap<'b>(buf: &'b mut [u8], at: usize, transmit: &Transmit) -> Option<&'b mut [u8]> {
    let Transmit { path: Path { local, remote }, len } = *transmit;
    let payload = buf.get(at..at.checked_add(len)?)?;
    let mut udp = UdpHeader::new(local.port, remote.port, len)?;
    let udp_len = udp.len.get();
    let pseudo = match (local.address, remote.address) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            Checksum::new().pseudo_v4(source, destination, protocol::UDP, udp_len)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Checksum::new().pseudo_v6(source, destination, protocol::UDP, udp_len.into())
        }
        _ => return None,
    };
    udp.checksum = U16::new(pseudo.bytes(udp.as_bytes()).bytes(payload).finish_udp());
    let udp_at = at.checked_sub(UdpHeader::LEN)?;
    bytes::copy_prefix(buf.get_mut(udp_at..)?, udp.as_bytes())?;
    let start = match (local.address, remote.address) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let ip =
                Ipv4Header::new(source, destination, protocol::UDP, 0, HOP_LIMIT, udp_len.into())?;
            let start = udp_at.checked_sub(Ipv4Header::LEN)?;
            bytes::copy_prefix(buf.get_mut(start..)?, ip.as_bytes())?;
            start
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let ip =
                Ipv6Header::new(source, destination, protocol::UDP, 0, HOP_LIMIT, udp_len.into())?;
            let start = udp_at.checked_sub(Ipv6Header::LEN)?;
            bytes::copy_prefix(buf.get_mut(start..)?, ip.as_bytes())?;
            start
        }
        _ => return None,
    };
    buf.get_mut(start..at.checked_add(len)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_is_first_to_rekey() {
        let limits = |bytes, packets| Limits { bytes, packets, ..Limits::NONE };
        let of = |soft, hard| receiver(Lifetime { soft, hard }).soft;
        assert_eq!(of(limits(800, 80), limits(1000, 100)), limits(900, 90));
        assert_eq!(of(limits(800, 80), limits(802, 80)), limits(801, 80));
        assert_eq!(of(limits(800, 80), Limits::NONE), limits(800 + 0x1_0000, 80 + 64));
        assert_eq!(of(limits(8 << 20, 800), Limits::NONE), limits(9 << 20, 900));
        assert_eq!(of(Limits::NONE, Limits::NONE), Limits::NONE);
    }
}
