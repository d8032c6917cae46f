//! What the two sides of a failed negotiation wanted, side by side: for people.
//!
//! A [`Failure`](crate::event::Failure) has what only the engine knows. What we wanted ourselves is in the configuration,
//! whose entries the event names; here it becomes an [`Offer`], to be shown beside the peer's.

use ipsec_core::crypto::{Integ, Suite};

use crate::config::{ChildProposal, IkeProposal};
use crate::event::{Offer, Offered};
use crate::wire::TransformType;
use crate::wire::iana::EsnId;

/// What these proposals for an IKE SA offer, whether implemented or not; cut like every [`Offer`].
pub fn ike_offer(proposals: &[IkeProposal<'_>]) -> Offer {
    let mut all = Offer::new();
    for ours in proposals {
        add_suites(&mut all, ours.suites);
        for prf in ours.prfs {
            add(&mut all, TransformType::PRF, prf.0, 0);
        }
        for group in ours.groups {
            add(&mut all, TransformType::KE, group.0, 0);
        }
    }
    all
}

/// What these proposals for phase 1 of IKEv1 offer, whether implemented or not; cut like every [`Offer`].
#[cfg(feature = "ikev1")]
pub fn phase1_offer(proposals: &[crate::config::Phase1Proposal<'_>]) -> Offer {
    let mut all = Offer::new();
    for ours in proposals {
        for suite in ours.suites {
            add(&mut all, TransformType::ENCR, suite.encr.0, suite.key_bits);
        }
        for prf in ours.prfs {
            add(&mut all, TransformType::PRF, prf.0, 0);
        }
        for group in ours.groups {
            add(&mut all, TransformType::KE, group.0, 0);
        }
    }
    all
}

/// What these proposals for a child SA offer, whether implemented or not; cut like every [`Offer`].
pub fn child_offer(proposals: &[ChildProposal<'_>]) -> Offer {
    let mut all = Offer::new();
    for ours in proposals {
        add_suites(&mut all, ours.suites);
        for group in ours.groups {
            add(&mut all, TransformType::KE, group.0, 0);
        }
        let esn = if ours.esn { EsnId::ESN } else { EsnId::NO_ESN };
        add(&mut all, TransformType::ESN, esn.0, 0);
    }
    all
}

/// The first kind of algorithm that two offers have nothing of in common. `None`: each has something, but not all of it
/// in one proposal, or a list was cut.
pub fn in_dispute(theirs: &Offer, ours: &Offer) -> Option<TransformType> {
    let kinds = [
        TransformType::ENCR,
        TransformType::INTEG,
        TransformType::PRF,
        TransformType::KE,
        TransformType::ESN,
    ];
    let whole = !theirs.is_full() && !ours.is_full();
    kinds.into_iter().find(|kind| {
        // A transform of value NONE stands for having none; "no ESN" is not one of these.
        let real = |o: &&Offered| o.kind == *kind && (o.id != 0 || *kind == TransformType::ESN);
        let [has_theirs, has_ours] = [theirs, ours].map(|offer| offer.iter().any(|o| real(&o)));
        let common = theirs.iter().filter(real).any(|o| ours.contains(o));
        // An AEAD has no integrity algorithm; a key exchange of one side only is a difference.
        let one_sided = *kind == TransformType::KE && whole && has_theirs != has_ours;
        !common && (has_theirs && has_ours || one_sided)
    })
}

fn add_suites(all: &mut Offer, suites: &[Suite]) {
    for suite in suites {
        if !suite.is_ah() {
            add(all, TransformType::ENCR, suite.encr.0, suite.key_bits);
        }
        if suite.integ != Integ::NONE {
            add(all, TransformType::INTEG, suite.integ.0, 0);
        }
    }
}

fn add(all: &mut Offer, kind: TransformType, id: u16, key_bits: u16) {
    let offered = Offered { kind, id, key_bits };
    if !all.contains(&offered) {
        let _ = all.push(offered);
    }
}

#[cfg(test)]
mod tests {
    use ipsec_core::crypto::{Group, PrfId};

    use super::*;

    const fn ike<'a>(suites: &'a [Suite], groups: &'a [Group]) -> IkeProposal<'a> {
        IkeProposal { suites, prfs: &[PrfId::HMAC_SHA2_256], groups, additional: &[] }
    }

    const fn child<'a>(suites: &'a [Suite], groups: &'a [Group], esn: bool) -> ChildProposal<'a> {
        ChildProposal { suites, groups, esn, additional: &[] }
    }

    #[test]
    fn the_kind_in_dispute() {
        let of = |proposal| ike_offer(&[proposal]);
        let (aead, cbc) = (&[Suite::AES_128_GCM][..], &[Suite::AES_128_CBC_SHA256][..]);
        let (x, p) = (&[Group::X25519][..], &[Group::P256][..]);
        let usual = of(ike(aead, x));
        assert_eq!(in_dispute(&usual, &usual), None);
        assert_eq!(in_dispute(&of(ike(cbc, x)), &usual), Some(TransformType::ENCR));
        assert_eq!(in_dispute(&usual, &of(ike(aead, p))), Some(TransformType::KE));
        let other = IkeProposal { prfs: &[PrfId::HMAC_SHA2_512], ..ike(aead, x) };
        assert_eq!(in_dispute(&of(other), &usual), Some(TransformType::PRF));
        let of = |proposal| child_offer(&[proposal]);
        let usual = of(child(aead, &[], false));
        assert_eq!(in_dispute(&of(child(aead, x, false)), &usual), Some(TransformType::KE));
        assert_eq!(in_dispute(&of(child(aead, &[], true)), &usual), Some(TransformType::ESN));
        let sha512 = Suite { integ: Integ::HMAC_SHA2_512_256, ..Suite::AES_128_CBC_SHA256 };
        let differs = in_dispute(&of(child(&[sha512], &[], false)), &of(child(cbc, &[], false)));
        assert_eq!(differs, Some(TransformType::INTEG));
        // Each kind has something in common, and no proposal has all of it.
        let both = child_offer(&[child(aead, &[], false), child(cbc, &[], true)]);
        assert_eq!(in_dispute(&both, &usual), None);
    }
}
