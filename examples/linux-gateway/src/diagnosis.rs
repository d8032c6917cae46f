//! What to do about a failure: the sentence behind the reason in the log. And what no message tells: traffic one way only,
//! lifetimes far apart, packets too big, no route for what came out of a tunnel.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::time::Duration;

use ipsec::diagnosis::OneWay;
use ipsec::ipsec_ike::diagnosis::{child_offer, ike_offer, in_dispute, phase1_offer};
use ipsec::ipsec_ike::event::Offer;
use ipsec::ipsec_ike::wire::{ExchangeType, NotifyType, TransformType};
use ipsec::{Child, ChildRef, Failure, Group, Instant, Peer, Tunnel, Untrusted, Versions};

/// A tunnel that sends for so long, and hears nothing, carries traffic one way only.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the tunnels are looked at for that.
pub(crate) const LOOK: Duration = Duration::from_secs(2);
/// The same remark about packets is made no more often than this.
const REMARK: Duration = Duration::from_secs(60);

/// What our side wanted, and what to do; empty if the reason says it all.
pub(crate) fn advice(
    failure: &Failure,
    peer: Option<&Peer<'_>>,
    child: Option<&Child<'_>>,
) -> String {
    let psk = "compare `psk`";
    match failure {
        Failure::UnknownPeer => {
            "; if it is one of yours, give `remote` its address, or \"any\"".into()
        }
        Failure::NoProposal { offered } => offers(offered, peer, child),
        Failure::ProposalRefused | Failure::Refused(NotifyType::NO_PROPOSAL_CHOSEN) => {
            let ours = ours(peer, child);
            format!("; we offer {}: take one of the peer's into `proposals`", list(ours.iter()))
        }
        Failure::PfsMismatch { .. } | Failure::PfsRefused { .. } | Failure::GroupRefused { .. } => {
            let ours = ours(peer, child);
            let groups = ours.iter().filter(|o| o.kind == TransformType::KE);
            let groups = groups.map(|o| Group(o.id).to_string()).collect::<Vec<_>>();
            let groups = if groups.is_empty() { "none".into() } else { groups.join(", ") };
            format!(
                "; `proposals` here name {groups}: name the same group on both sides, or none on both"
            )
        }
        Failure::BundleMismatch { ours: true } => {
            "; leave `ah_around` out here, or give the peer AH besides ESP".into()
        }
        Failure::BundleMismatch { ours: false } => {
            "; give `ah_around` the peer's algorithm of AH".into()
        }
        Failure::NoSelectors { .. }
        | Failure::SelectorsRefused
        | Failure::Refused(NotifyType::TS_UNACCEPTABLE)
        | Failure::NotNarrowed { .. } => {
            let children = match child {
                Some(child) => std::slice::from_ref(child),
                None => peer.map_or(&[][..], |peer| peer.children),
            };
            let ours = children.iter().map(|child| {
                format!("{} to {}", list(child.remote.iter()), list(child.local.iter()))
            });
            let ours = ours.collect::<Vec<_>>().join(", or ");
            format!("; here it is {ours}: `local` and `remote` must mirror the peer's")
        }
        Failure::AuthenticationFailed => format!("; {psk} on both sides"),
        Failure::AuthenticationRefused => {
            format!("; its log knows which: {psk}, or `local_id` with what it expects")
        }
        Failure::UnknownIdentity { .. } => match peer {
            Some(peer) => {
                format!("; we expect {}: correct `remote_id`, or its identity", peer.remote_id)
            }
            None => String::new(),
        },
        Failure::Untrusted { reason, .. } => match reason {
            Untrusted::Expired { ended: at, now } => {
                format!(
                    "; that is {}, and our clock says {}: renew it, or set the clock",
                    date(*at),
                    date(*now)
                )
            }
            Untrusted::NotYetValid { begins: at, now } => {
                format!("; that is {}, and our clock says {}: set the clock", date(*at), date(*now))
            }
            Untrusted::OldCrl { ended: at, now } => {
                format!(
                    "; that is {}, and our clock says {}: fetch a new `crl`",
                    date(*at),
                    date(*now)
                )
            }
            Untrusted::UnknownIssuer => {
                "; `ca` must have its root, and the peer must send what is between".into()
            }
            Untrusted::Name => {
                "; `remote_id` must be one of its subjectAltNames, or its subject".into()
            }
            _ => String::new(),
        },
        Failure::MethodRefused { .. } => "; change `remote_auth` here, or `auth` there".into(),
        Failure::PeerSilent { exchange, nat_port, hint: None, .. } => {
            if *exchange == ExchangeType::IKE_SA_INIT {
                "; does the peer run, is `remote` its address, does it know ours, and does UDP 500 get through?".into()
            } else if exchange.0 < ExchangeType::IKE_SA_INIT.0 {
                // Of IKEv1, where the whole of phase 1 is one exchange.
                "; does the peer run, and allow IKEv1 with us? With another `psk` it cannot read who we are, and its log says so".into()
            } else if *nat_port {
                "; a firewall or NAT on the way drops UDP 4500: let it through in both directions"
                    .into()
            } else {
                "; its log may say why; or longer packets are lost on the way".into()
            }
        }
        Failure::AnswerUnusable { .. } => {
            "; is it IKEv2 that answers there? Its log may say what it chose".into()
        }
        Failure::FragmentationNeeded { .. } => {
            "; let the peer allow fragmentation (RFC 7383), or send fewer certificates".into()
        }
        Failure::NoAddress => "; make `pool` larger".into(),
        Failure::NotConfigured => {
            "; does the peer have addresses to give, and is `push` alike on both sides?".into()
        }
        Failure::UserRefused => {
            "; compare `user` and `password` here with what the peer knows".into()
        }
        Failure::UserUnknown { .. } => "; compare `users` here with what the peer says".into(),
        Failure::SinglePairRequired => {
            "; let a packet bring the tunnel up, or name two hosts in `local` and `remote`".into()
        }
        Failure::InvalidSelectors => {
            "; `local` and `remote` must mirror the peer's, and so must its routes".into()
        }
        Failure::Refused(NotifyType::NO_ADDITIONAL_SAS) => {
            "; the peer has no room for more: let it allow more, or wait".into()
        }
        _ => String::new(),
    }
}

/// The transforms that our side has to offer.
fn ours(peer: Option<&Peer<'_>>, child: Option<&Child<'_>>) -> Offer {
    match (child, peer) {
        (Some(child), _) => child_offer(child.proposals),
        (None, Some(Peer { versions: Versions::V1(v1), .. })) => phase1_offer(v1.proposals),
        (None, Some(peer)) => ike_offer(peer.proposals),
        (None, None) => Offer::new(),
    }
}

fn offers(offered: &Offer, peer: Option<&Peer<'_>>, child: Option<&Child<'_>>) -> String {
    let ours = ours(peer, child);
    let what = match in_dispute(offered, &ours) {
        Some(TransformType::ENCR) => "no encryption in common",
        Some(TransformType::INTEG) => "no integrity algorithm in common",
        Some(TransformType::PRF) => "no pseudo-random function in common",
        Some(TransformType::KE) => "no key exchange in common",
        Some(TransformType::ESN) => "extended sequence numbers on one side only",
        _ => "not all of it in one proposal",
    };
    format!("; we allow {}; {what}: take one of the peer's into `proposals`", list(ours.iter()))
}

fn list(items: impl Iterator<Item = impl Display>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// Seconds since 1970 as a date (proleptic Gregorian calendar), UTC.
fn date(seconds: u64) -> String {
    let (mut days, time) = (seconds / 86400, seconds % 86400);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    // What is beyond year 9999 is no date of a certificate (RFC 5280 section 4.1.2.5).
    while year < 10_000 && days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute) = (time / 3600, time / 60 % 60);
    format!("{year:04}-{month:02}-{:02} {hour:02}:{minute:02}:{:02} UTC", days + 1, time % 60)
}

/// Watches what no message tells.
#[derive(Default)]
pub(crate) struct Watch {
    one_way: HashMap<ChildRef, OneWay>,
    /// When the tunnels are looked at again.
    pub(crate) next: Instant,
    /// When the present keys of a child came, and those of an IKE SA.
    children: HashMap<ChildRef, Instant>,
    ikes: HashMap<u16, Instant>,
    /// Whom we told ourselves to get new keys.
    pub(crate) told: HashSet<String>,
    /// Remarks that were made: not again.
    made: HashSet<String>,
    /// When a remark on a packet may be made again.
    quiet_until: Instant,
    /// Tunnels whose first packet has been looked at.
    routed: HashSet<ChildRef>,
}

impl Watch {
    /// The tunnels that carry traffic one way only.
    pub(crate) fn one_way<'r>(
        &mut self,
        now: Instant,
        tunnels: impl Iterator<Item = Tunnel<'r>>,
    ) -> Vec<ChildRef> {
        self.next = now.after(LOOK);
        let mut found = Vec::new();
        for tunnel in tunnels {
            if self.one_way.entry(tunnel.config).or_default().look(now, &tunnel, PATIENCE) {
                found.push(tunnel.config);
            }
        }
        found
    }

    /// A child has new keys. Says after how long the peer has replaced the old ones, if that is far sooner than we would.
    pub(crate) fn child(
        &mut self,
        now: Instant,
        config: ChildRef,
        name: &str,
        ours: Duration,
    ) -> Option<Duration> {
        let old = self.children.insert(config, now);
        self.sooner(now, old, name, ours)
    }

    /// As [`Watch::child`], of the IKE SA with a peer.
    pub(crate) fn ike(
        &mut self,
        now: Instant,
        peer: u16,
        name: &str,
        ours: Duration,
    ) -> Option<Duration> {
        let old = self.ikes.insert(peer, now);
        self.sooner(now, old, name, ours)
    }

    /// It has gone, and begins anew.
    pub(crate) fn gone(&mut self, config: ChildRef) {
        self.children.remove(&config);
    }

    /// As [`Watch::gone`], of the IKE SA with a peer.
    pub(crate) fn ike_gone(&mut self, peer: u16) {
        self.ikes.remove(&peer);
    }

    fn sooner(
        &mut self,
        now: Instant,
        old: Option<Instant>,
        name: &str,
        ours: Duration,
    ) -> Option<Duration> {
        let age = now.since(old?);
        let by_peer = !self.told.remove(name) && age < ours / 2;
        (by_peer && self.made.insert(format!("lifetime {name}"))).then_some(age)
    }

    /// Whether a remark on a packet may be made now.
    pub(crate) fn may_remark(&mut self, now: Instant) -> bool {
        let may = now >= self.quiet_until;
        if may {
            self.quiet_until = now.after(REMARK);
        }
        may
    }

    /// Whether this is the first packet that comes out of a tunnel.
    pub(crate) fn is_first(&mut self, config: ChildRef) -> bool {
        self.routed.insert(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipsec::Identity;

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(1_609_459_199), "2020-12-31 23:59:59 UTC");
        assert_eq!(date(4_102_444_800), "2100-01-01 00:00:00 UTC");
        assert!(date(u64::MAX).starts_with("10000-"));
    }

    /// Both sides are shown, and what to do.
    #[test]
    fn sentences() {
        let mut peer =
            Peer::psk((None, Identity::Any), (None, Identity::Fqdn("delhi.example")), b"s");
        let proposals = ike_offer(&[ipsec::IkeProposal {
            suites: &[ipsec::Suite::CHACHA20_POLY1305],
            prfs: &[ipsec::PrfId::HMAC_SHA2_256],
            groups: &[Group::X25519],
            additional: &[],
        }]);
        peer.proposals = &[ipsec::IkeProposal {
            suites: &[ipsec::Suite::AES_256_GCM],
            prfs: &[ipsec::PrfId::HMAC_SHA2_256],
            groups: &[Group::X25519],
            additional: &[],
        }];
        let failure = Failure::NoProposal { offered: proposals };
        let said = format!("{failure}{}", advice(&failure, Some(&peer), None));
        for part in [
            "the peer offers ChaCha20-Poly1305",
            "we allow AES-GCM-16-256",
            "no encryption in common",
        ] {
            assert!(said.contains(part), "{said}");
        }
        let failure = Failure::Refused(NotifyType::NO_PROPOSAL_CHOSEN);
        let said = advice(&failure, Some(&peer), Some(&Child::new("lan", &[], &[])));
        assert!(said.starts_with("; we offer AES-GCM-16-"), "{said}");
        let failure = Failure::Untrusted {
            claimed: ipsec::ipsec_ike::identity::ClaimedId::of(
                &Identity::Fqdn("x").payload(&mut [0; 16]),
            ),
            reason: Untrusted::Expired { ended: 1_609_459_200, now: 1_700_000_000 },
        };
        let said = advice(&failure, Some(&peer), None);
        assert!(
            said.contains("2021-01-01") && said.contains("our clock says 2023-11-14"),
            "{said}"
        );
        let failure = Failure::PfsMismatch { theirs: Group::P256, ours: Group::NONE };
        let said = format!(
            "{failure}{}",
            advice(&failure, Some(&peer), Some(&Child::new("lan", &[], &[])))
        );
        assert!(said.contains("here name none"), "{said}");
    }

    /// Keys that the peer replaces long before we would are remarked on once; those that we were told to replace are not.
    #[test]
    fn lifetimes_far_apart() {
        let mut watch = Watch::default();
        let (config, hour) = (ChildRef { peer: 0, child: 0 }, Duration::from_secs(3600));
        let mut at = |secs, told: bool| {
            if told {
                watch.told.insert("lan".into());
            }
            watch.child(Instant::from_secs(secs), config, "lan", hour)
        };
        assert_eq!(at(10, false), None);
        assert_eq!(at(20, true), None);
        assert_eq!(at(20 + 3000, false), None);
        assert_eq!(at(20 + 3000 + 60, false), Some(Duration::from_secs(60)));
        assert_eq!(at(20 + 3000 + 120, false), None);
    }
}
