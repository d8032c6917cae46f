//! What a person reads: one line for each event, and the answer to `status`.

use std::fmt::Write;
use std::net::IpAddr;

use ipsec::ipsec_ike::wire::{NotifyType, TransformType};
use ipsec::{
    AgreedAh, ChildAgreed, ChildRef, Counters, DownReason, Failure, Gateway, GatewayEvent,
    IkeAgreed, IkeId, ManualId, Path, Peer,
};
use ipsec_rustcrypto::RustCrypto;

use crate::diagnosis::advice;

/// The IKE SAs that are up.
#[derive(Default)]
pub(crate) struct Sas {
    all: Vec<IkeSa>,
}

struct IkeSa {
    id: IkeId,
    peer: u16,
    path: Option<Path>,
    agreed: IkeAgreed,
}

impl Sas {
    /// Keeps up with an event.
    pub(crate) fn note(&mut self, event: &GatewayEvent) {
        match *event {
            GatewayEvent::IkeUp { ike, peer, path, agreed } => {
                self.all.push(IkeSa { id: ike, peer, path: Some(path), agreed });
            }
            GatewayEvent::IkeRekeyed { ike, replaces, peer, agreed } => {
                let path = self.find(replaces).and_then(|sa| sa.path);
                self.all.retain(|sa| sa.id != replaces);
                self.all.push(IkeSa { id: ike, peer, path, agreed });
            }
            GatewayEvent::IkeDown { ike, .. } => self.all.retain(|sa| sa.id != ike),
            _ => {}
        }
    }

    fn find(&self, id: IkeId) -> Option<&IkeSa> {
        self.all.iter().find(|sa| sa.id == id)
    }

    /// The IKE SAs with a peer, the oldest first.
    pub(crate) fn of_peer(&self, peer: u16) -> impl Iterator<Item = IkeId> {
        self.all.iter().filter(move |sa| sa.peer == peer).map(|sa| sa.id)
    }
}

/// The names of peers and their children.
pub(crate) struct Names {
    peers: &'static [Peer<'static>],
    children: Vec<ChildRef>,
}

impl Names {
    pub(crate) fn new(peers: &'static [Peer<'static>]) -> Self {
        let of_peer = |(peer, config): (u16, &Peer<'_>)| {
            let children = 0..u16::try_from(config.children.len()).unwrap_or(u16::MAX);
            children.map(move |child| ChildRef { peer, child })
        };
        Self { peers, children: (0..).zip(peers).flat_map(of_peer).collect() }
    }

    /// All children, in the order of the configuration: that of their policies.
    pub(crate) fn children(&self) -> &[ChildRef] {
        &self.children
    }

    /// The name of a peer.
    fn peer(&self, peer: u16) -> &'static str {
        self.peers.get(usize::from(peer)).map_or("?", |peer| peer.name)
    }

    /// The name of a child, behind that of its peer.
    pub(crate) fn child(&self, config: ChildRef) -> String {
        let peer = self.peers.get(usize::from(config.peer));
        let child = peer.and_then(|peer| peer.children.get(usize::from(config.child)));
        format!("{}/{}", self.peer(config.peer), child.map_or("?", |child| child.name))
    }

    pub(crate) fn find_peer(&self, name: &str) -> Result<u16, String> {
        let found = (0..).zip(self.peers).find(|(_, peer)| peer.name == name);
        found.map(|(number, _)| number).ok_or_else(|| format!("there is no peer {name}"))
    }

    /// By `peer/child`, or by the child's name alone if only one has it.
    pub(crate) fn find_child(&self, name: &str) -> Result<ChildRef, String> {
        let is_it = |config: &&ChildRef| {
            let full = self.child(**config);
            full == name || full.split_once('/').is_some_and(|(_, child)| child == name)
        };
        let mut found = self.children.iter().filter(is_it);
        match (found.next(), found.next()) {
            (Some(config), None) => Ok(*config),
            (None, _) => Err(format!("there is no child {name}")),
            _ => Err(format!("several peers have a child {name}: name it as peer/{name}")),
        }
    }

    /// Logs what happened. Keys are not for the log.
    pub(crate) fn tell(&self, event: &GatewayEvent, sas: &Sas) {
        match event {
            GatewayEvent::IkeUp { peer, path, agreed, .. } => {
                log::info!("ike up peer={} path={path} {}", self.peer(*peer), ike_agreed(agreed));
            }
            GatewayEvent::IkeRekeyed { peer, agreed, .. } => {
                log::info!("ike rekeyed peer={} {}", self.peer(*peer), ike_agreed(agreed));
            }
            GatewayEvent::Configured { peer, given, .. } => {
                let ipv4 = given.ipv4.map(IpAddr::V4).into_iter();
                let addresses = ipv4.chain(given.ipv6.map(|(address, _)| IpAddr::V6(address)));
                let list = |all: &mut dyn Iterator<Item = IpAddr>| {
                    all.map(|a| a.to_string()).collect::<Vec<_>>().join(",")
                };
                let (all, dns) =
                    (list(&mut addresses.into_iter()), list(&mut given.dns.iter().copied()));
                let peer = self.peer(*peer);
                let networks =
                    given.networks.iter().map(|(network, len)| format!("{network}/{len}"));
                let networks = networks.collect::<Vec<_>>().join(",");
                let domains = &given.domains;
                log::info!(
                    "given peer={peer} addresses={all} dns={dns} domains={domains} networks={networks}"
                );
            }
            GatewayEvent::IkeDown { peer, reason: DownReason::Rekeyed, .. } => {
                log::debug!("ike replaced peer={}", self.peer(*peer));
            }
            GatewayEvent::IkeDown { peer, reason, .. } => {
                let silent = matches!(reason, DownReason::PeerSilent { .. });
                let advice =
                    if silent { "; it answered before: it, or the way to it, is gone" } else { "" };
                log::info!("ike down peer={} reason={reason}{advice}", self.peer(*peer));
            }
            GatewayEvent::ChildUp { config, path, agreed, .. } => {
                log::info!(
                    "child up child={} path={} {}",
                    self.child(*config),
                    way(path),
                    child_agreed(agreed)
                );
            }
            GatewayEvent::ChildRekeyed { config, path, agreed, .. } => {
                let child = self.child(*config);
                log::info!(
                    "child rekeyed child={child} path={} {}",
                    way(path),
                    child_agreed(agreed)
                );
            }
            GatewayEvent::ChildDown { config, reason: DownReason::Rekeyed, .. } => {
                log::debug!("child replaced child={}", self.child(*config));
            }
            GatewayEvent::ChildDown { config, reason, tunnel_up, .. } => {
                let still = if *tunnel_up { " (another one carries the tunnel)" } else { "" };
                log::info!("child down child={} reason={reason}{still}", self.child(*config));
            }
            GatewayEvent::ChildMoved { config, path, .. } => {
                log::info!("child moved child={} path={}", self.child(*config), way(path));
            }
            GatewayEvent::Failed { peer, child, path, failure } => {
                let is_up = peer.is_some_and(|peer| sas.of_peer(peer).next().is_some());
                let entry = peer.and_then(|peer| self.peers.get(usize::from(peer)));
                let of_child = child.and_then(|c| entry?.children.get(usize::from(c.child)));
                // A failure of the IKE SA may name the child that wanted it.
                let of_child = of_child.filter(|_| is_about_child(failure, is_up));
                let reason = reason(failure) + &advice(failure, entry, of_child);
                let name = peer.map_or("?", |peer| self.peer(peer));
                if is_about_child(failure, is_up) {
                    let child =
                        child.map_or_else(|| format!("{name}/?"), |child| self.child(child));
                    log::warn!("child failed child={child} reason={reason} remote={}", path.remote);
                } else {
                    log::warn!("ike failed peer={name} reason={reason} remote={}", path.remote);
                }
            }
            GatewayEvent::InstallFailed { direction, error, .. } => {
                log::error!("install failed direction={direction:?} reason={error}");
            }
            _ => {}
        }
    }

    /// The answer to `status`.
    pub(crate) fn status(
        &self,
        gateway: &Gateway<'_, RustCrypto>,
        sas: &Sas,
        manual: impl Iterator<Item = (&'static str, ManualId)>,
    ) -> String {
        let mut text = String::new();
        for (number, peer) in (0..).zip(self.peers) {
            let _ = writeln!(text, "peer {}", peer.name);
            for sa in sas.all.iter().filter(|sa| sa.peer == number) {
                let path = sa.path.map_or_else(String::new, |path| format!("{path} "));
                let _ = writeln!(text, "  ike up {path}{}", ike_agreed(&sa.agreed));
            }
            for tunnel in gateway.tunnels().filter(|tunnel| tunnel.config.peer == number) {
                let state = match (tunnel.child, tunnel.negotiating) {
                    (Some(_), _) => "up",
                    (None, true) => "negotiating",
                    (None, false) => "down",
                };
                let _ = write!(text, "  child {} {state}", tunnel.child_config.name);
                if tunnel.child.is_some() {
                    text += &traffic(tunnel.sent, tunnel.received);
                }
                let _ = writeln!(text);
            }
        }
        for (name, id) in manual {
            if let Some(report) = gateway.manual(id) {
                let traffic = traffic(report.sent, report.received);
                let _ =
                    writeln!(text, "manual {name} up{traffic}, sequence_out {}", report.sequence);
            }
        }
        for line in self.counters(gateway.counters()) {
            let _ = writeln!(text, "{line}");
        }
        text
    }

    /// What was done, in a few lines.
    pub(crate) fn counters(&self, counters: &Counters) -> Vec<String> {
        let Counters { sealed, sealed_bytes, opened, opened_bytes, ike_in, ike_out, .. } = counters;
        let mut lines = vec![
            format!("sent {sealed} packets, {sealed_bytes} bytes"),
            format!("received {opened} packets, {opened_bytes} bytes"),
            format!("IKE: sent {ike_out}, received {ike_in} datagrams"),
        ];
        lines.extend(counters.drops().map(|(reason, count)| format!("dropped {count}: {reason}")));
        lines
    }
}

/// Packets and bytes, sent and received.
fn traffic(sent: (u64, u64), received: (u64, u64)) -> String {
    let ((packets_out, bytes_out), (packets_in, bytes_in)) = (sent, received);
    format!(
        ", sent {packets_out} packets, {bytes_out} bytes, received {packets_in} packets, {bytes_in} bytes"
    )
}

/// A path of ESP: without UDP it has no ports.
fn way(path: &Path) -> String {
    match (path.local.port, path.remote.port) {
        (0, 0) => format!("{} -> {}", path.local.address, path.remote.address),
        _ => path.to_string(),
    }
}

/// Key exchanges after the first.
fn more(groups: &[ipsec::Group]) -> String {
    let some = groups.iter().filter(|group| **group != ipsec::Group::NONE);
    some.map(|group| format!("+{group}")).collect()
}

fn ike_agreed(agreed: &IkeAgreed) -> String {
    let IkeAgreed { initiator_spi, responder_spi, suite, prf, group, .. } = agreed;
    let IkeAgreed { additional, ppk, nat_local, nat_remote, .. } = agreed;
    let additional = more(additional);
    let nat = match (nat_local, nat_remote) {
        (false, false) => "none",
        (true, false) => "here",
        (false, true) => "there",
        (true, true) => "both",
    };
    let ppk = if *ppk { ", PPK" } else { "" };
    format!(
        "spis={initiator_spi:016x}/{responder_spi:016x} suite={suite}, {prf}, {group}{additional}{ppk} nat={nat}"
    )
}

fn child_agreed(agreed: &ChildAgreed) -> String {
    let ChildAgreed { inbound_spi, outbound_spi, suite, esn, group, .. } = agreed;
    let ChildAgreed { additional, encapsulated, transport, around, .. } = agreed;
    let around = around.map_or_else(String::new, |around| {
        let AgreedAh { integ, inbound_spi, outbound_spi } = around;
        format!(" ah={integ} ah_spi_in={inbound_spi} ah_spi_out={outbound_spi}")
    });
    let pfs = match *group {
        ipsec::Group::NONE => String::new(),
        group => format!(", {group}{}", more(additional)),
    };
    let esn = if *esn { ", ESN" } else { "" };
    let udp = if *encapsulated { "udp" } else { "none" };
    let mode = if *transport { "transport" } else { "tunnel" };
    format!(
        "spi_in={inbound_spi} spi_out={outbound_spi} suite={suite}{pfs}{esn} encapsulation={udp} mode={mode}{around}"
    )
}

fn reason(failure: &Failure) -> String {
    match failure {
        Failure::UnknownIdentity { .. } => format!("authentication failed: {failure}"),
        _ => failure.to_string(),
    }
}

/// Whether a tunnel did not come about, while the IKE SA with the peer did, `is_up`.
fn is_about_child(failure: &Failure, is_up: bool) -> bool {
    match failure {
        Failure::NoSelectors { .. } | Failure::SelectorsRefused | Failure::NotNarrowed { .. } => {
            true
        }
        Failure::PfsMismatch { .. } | Failure::PfsRefused { .. } => true,
        Failure::SinglePairRequired | Failure::InvalidSelectors => true,
        // Some peers, such as iked, refuse an IKE SA in IKE_AUTH for the sake of its first child.
        Failure::Refused(NotifyType::NO_PROPOSAL_CHOSEN | NotifyType::TS_UNACCEPTABLE) => true,
        Failure::BundleMismatch { .. } | Failure::AhBehindNat | Failure::NatMismatch { .. } => true,
        Failure::TransportRefused | Failure::TransportRequired | Failure::TunnelRequired => true,
        // Only what is offered for IKE has a pseudo-random function.
        Failure::NoProposal { offered } => {
            !offered.iter().any(|transform| transform.kind == TransformType::PRF)
        }
        Failure::ProposalRefused | Failure::GroupRefused { .. } | Failure::Refused(_) => is_up,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipsec::{Child, Identity};

    const LAN: Child<'_> = Child::new("lan", &[], &[]);
    const VOICE: Child<'_> = Child::new("voice", &[], &[]);

    fn names() -> Names {
        let peer = |name, children| {
            let mut peer = Peer::psk((None, Identity::Any), (None, Identity::Any), b"secret");
            (peer.name, peer.children) = (name, children);
            peer
        };
        Names::new(vec![peer("delhi", &[LAN, VOICE]), peer("mumbai", &[LAN])].leak())
    }

    #[test]
    fn children_are_found_by_their_names() {
        let names = names();
        let at = |peer, child| Ok(ChildRef { peer, child });
        assert_eq!(names.find_child("voice"), at(0, 1));
        assert_eq!(names.find_child("delhi/voice"), at(0, 1));
        assert_eq!(names.find_child("mumbai/lan"), at(1, 0));
        assert!(names.find_child("lan").unwrap_err().contains("peer/lan"));
        assert!(names.find_child("mumbai/voice").unwrap_err().contains("no child"));
        assert_eq!((names.find_peer("mumbai"), names.find_peer("lan").is_err()), (Ok(1), true));
        let order: Vec<String> = names.children().iter().map(|c| names.child(*c)).collect();
        assert_eq!(order, ["delhi/lan", "delhi/voice", "mumbai/lan"]);
    }
    #[test]
    fn what_is_about_a_child() {
        let refused = |kind, is_up| is_about_child(&Failure::Refused(kind), is_up);
        assert!(refused(NotifyType::NO_PROPOSAL_CHOSEN, false));
        assert!(refused(NotifyType::TS_UNACCEPTABLE, false));
        assert!(
            !refused(NotifyType::INVALID_SYNTAX, false)
                && refused(NotifyType::INVALID_SYNTAX, true)
        );
        assert!(!is_about_child(&Failure::ProposalRefused, false));
    }
}
