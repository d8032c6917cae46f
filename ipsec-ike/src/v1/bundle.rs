//! AH around ESP, agreed on as one: a bundle (RFC 2408 section 4.2, RFC 2401 section 4.3).
//!
//! Two proposals of one number are wanted together. Their packets are `IP | AH | ESP | ...`: the two SAs lie next to each
//! other behind one IP header. For AH around a tunnel of ESP, some peers say tunnel mode and some transport mode, and
//! mean this packet (racoon has a setting for what it says). So either is offered, and either accepted.
//!
//! The two SAs of a direction come, are replaced and go together. IKEv2 has no bundles.

use ipsec_core::crypto::{Integ, Provider, Suite};
use ipsec_core::sa::Spi;

use super::proposal::{
    MAX_LOOKED_AT, Numbers, OfferedPhase2, QuickChoice, QuickOffer, Unmet, alone, fit, protocol_of,
    suites, wants_group,
};
use crate::child_sa::Child;
use crate::config::{self, ChildProposal};
use crate::engine::{Env, Ike};
use crate::event::{AgreedAh, Failure};
use crate::proposal::Implemented;
use crate::wire::NoRoom;
use crate::wire::v1::{Encapsulation, Proposal, ProtocolId, SaPayload, SaWriter, Transform};

/// The most bundles of an offer that are looked at: each is compared with each of ours.
const MAX_BUNDLES: usize = 16;

/// The AH of a child. All zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BundledAh {
    /// Its algorithm; [`Integ::NONE`] where nothing is agreed, or agreed on without AH.
    pub(crate) integ: Integ,
    /// We receive on it; 0 if there is none.
    pub(crate) spi_in: u32,
    /// We send on it; 0 if there is none yet.
    pub(crate) spi_out: u32,
}

impl BundledAh {
    /// None.
    pub(crate) const NONE: Self = Self { integ: Integ::NONE, spi_in: 0, spi_out: 0 };

    /// What was agreed on, if something was.
    pub(crate) fn agreed(&self) -> Option<AgreedAh> {
        let inbound_spi = Spi::new(self.spi_in).filter(|_| self.integ != Integ::NONE)?;
        let outbound_spi = Spi::new(self.spi_out)?;
        Some(AgreedAh { integ: self.integ, inbound_spi, outbound_spi })
    }
}

/// The SPIs that a child receives on, as the peer is told that they are gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deletion {
    pub(super) protocol: ProtocolId,
    pub(super) spi: u32,
    /// Of AH around it; 0 without.
    pub(super) around: u32,
}

impl Deletion {
    pub(super) const fn of(child: &Child) -> Self {
        let protocol = protocol_of(child.choice.suite.is_ah());
        Self { protocol, spi: child.spi_in, around: child.around.spi_in }
    }

    /// How many messages tell it.
    pub(super) const fn messages(self) -> usize {
        if self.around == 0 { 1 } else { 2 }
    }
}

/// What is chosen of the AH of a bundle.
#[derive(Clone, Copy, Debug)]
pub(super) struct AhChoice<'a> {
    /// Its algorithm.
    pub(super) integ: Integ,
    /// The peer's SPI.
    pub(super) spi: Spi,
    /// Its proposal stood before that of ESP.
    first: bool,
    transform: Transform<'a>,
}

impl<P: Provider> Ike<'_, P> {
    /// Sees to it that a child which is to be a bundle has an SPI to receive AH on.
    pub(super) fn reserve_around(&mut self, env: &mut Env<'_>, number: u32) -> Result<(), Failure> {
        let child = self.child(number).ok_or(Failure::Protocol)?;
        let (config, reserved) = (child.config, child.around.spi_in != 0);
        let bundled = self.child_config(config).is_some_and(|config| !config.around.is_empty());
        if !bundled || reserved {
            return Ok(());
        }
        let spi = env.spis.reserve(env.rng).ok_or(Failure::NoRoom)?;
        self.gone.forget(spi.get());
        if let Some(child) = self.child(number) {
            child.around.spi_in = spi.get();
        }
        Ok(())
    }

    /// Gives back the SPI of AH of a child that was not installed.
    pub(crate) fn release_around(&mut self, env: &mut Env<'_>, number: u32) {
        let around = self.child(number).map(|child| child.around.spi_in);
        if let Some(spi) = around.and_then(Spi::new) {
            env.spis.release(spi);
        }
    }

    /// Notes what was agreed on of the AH of a child.
    pub(super) fn agree_on_around(&mut self, number: u32, chosen: Option<AhChoice<'_>>) {
        if let (Some(child), Some(chosen)) = (self.child(number), chosen) {
            child.around.integ = chosen.integ;
            child.around.spi_out = chosen.spi.get();
        }
    }
}

/// Writes what we offer for a child that receives ESP on `spi`, and AH on `around`.
pub(super) fn offer(
    w: &mut SaWriter<'_, '_>,
    offer: &QuickOffer<'_>,
    spi: u32,
    around: u32,
) -> Result<(), NoRoom> {
    let (spi, around) = (spi.to_be_bytes(), around.to_be_bytes());
    let mut number = 0u8;
    for ours in offer.proposals.iter().filter(|ours| wants_group(ours, offer.group)) {
        if suites(ours, false, &offer.implemented).next().is_none() {
            continue;
        }
        // One of the two, where ESP is in transport mode.
        let also = (!offer.encapsulation.is_transport()).then_some(Encapsulation::TRANSPORT);
        for encapsulation in [Some(offer.encapsulation), also].into_iter().flatten() {
            number = number.checked_add(1).ok_or(NoRoom)?;
            let mut p = w.proposal(number, ProtocolId::AH, &around)?;
            for integ in integs(offer.around, &offer.implemented) {
                let suite = Suite::ah(integ);
                let mut ah = OfferedPhase2::offered(suite, ours, offer).ok_or(NoRoom)?;
                ah.encapsulation = encapsulation;
                ah.write(&mut p)?;
            }
            let mut p = w.proposal(number, ProtocolId::ESP, &spi)?;
            for suite in suites(ours, false, &offer.implemented) {
                OfferedPhase2::offered(suite, ours, offer).ok_or(NoRoom)?.write(&mut p)?;
            }
        }
    }
    Ok(())
}

/// Chooses a bundle from an offer, as [`choose_quick`](super::proposal::choose_quick) does what stands alone.
///
/// Of the transforms of ESP and of AH, the first that fits is taken.
pub(super) fn choose<'a>(
    offer: &SaPayload<'a>,
    (proposals, around): (&[ChildProposal<'_>], &[Integ]),
    implemented: &Implemented<'_>,
    modes: &dyn Fn(Encapsulation) -> bool,
) -> Result<QuickChoice<'a>, Unmet> {
    let mut unmet = Unmet::default();
    let offered = bundles(offer);
    for ours in proposals {
        for suite in suites(ours, false, implemented) {
            for integ in integs(around, implemented) {
                for both in &offered {
                    let mut first =
                        |p: Proposal<'a>, suite, modes: &dyn Fn(Encapsulation) -> bool| {
                            let mut all = p.transforms().take(MAX_LOOKED_AT);
                            all.find_map(|t| {
                                fit(ours, suite, (p, t), implemented, modes, &mut unmet)
                            })
                        };
                    let Some(esp) = first(both.esp, suite, modes) else { continue };
                    let inside = esp.encapsulation;
                    let outside = |e| e == inside || e == Encapsulation::TRANSPORT;
                    let ah = first(both.ah, Suite::ah(integ), &outside);
                    // RFC 2409 section 5.5: one key exchange is for all.
                    let ah = ah.filter(|ah| ah.choice.group == esp.choice.group);
                    if let Some(ah) = ah {
                        let (spi, transform) = (ah.spi, ah.transform);
                        let around = AhChoice { integ, spi, first: both.ah_first, transform };
                        let lifetime = esp.lifetime.shorter(ah.lifetime);
                        return Ok(QuickChoice { around: Some(around), lifetime, ..esp });
                    }
                }
            }
        }
    }
    Err(unmet)
}

/// What a responder chose from our offer; `None` if that is not one bundle of one transform each.
pub(super) fn accept<'a>(
    answer: &SaPayload<'a>,
    offer: &QuickOffer<'_>,
    modes: &dyn Fn(Encapsulation) -> bool,
) -> Option<QuickChoice<'a>> {
    let single = answer.proposals().all(|p| p.single().is_some());
    (single && answer.proposals().count() == 2)
        .then(|| choose(answer, (offer.proposals, offer.around), &offer.implemented, modes).ok())
        .flatten()
}

/// Writes the answer: both transforms as they were offered, and in this order, with the SPIs that we receive on.
pub(super) fn answer(
    w: &mut SaWriter<'_, '_>,
    chosen: &QuickChoice<'_>,
    ah: &AhChoice<'_>,
    (spi, around): (u32, u32),
) -> Result<(), NoRoom> {
    let esp = (ProtocolId::ESP, spi, &chosen.transform);
    let ah_ = (ProtocolId::AH, around, &ah.transform);
    for (protocol, spi, transform) in if ah.first { [ah_, esp] } else { [esp, ah_] } {
        w.proposal(chosen.number, protocol, &spi.to_be_bytes())?.again(transform)?;
    }
    Ok(())
}

/// ESP and AH that are offered together.
pub(super) struct Both<'a> {
    pub(super) esp: Proposal<'a>,
    pub(super) ah: Proposal<'a>,
    ah_first: bool,
}

/// The bundles of an offer: two proposals of one number, one of ESP and one of AH. What else there is of more than one
/// protocol is nothing that we have. No more than [`MAX_BUNDLES`], found in so many walks through the offer.
pub(super) fn bundles<'a>(offer: &SaPayload<'a>) -> heapless::Vec<Both<'a>, MAX_BUNDLES> {
    let mut found = heapless::Vec::new();
    let numbers = Numbers::of(offer);
    let all = offer.proposals().take(MAX_LOOKED_AT).enumerate();
    let twos = all.clone().filter(|(_, p)| numbers.count(p.number) == 2);
    let esps = twos.clone().filter(|(_, p)| p.protocol == ProtocolId::ESP);
    for (at, esp) in esps.take(MAX_BUNDLES) {
        let other = twos.clone().find(|(i, p)| *i != at && p.number == esp.number);
        if let Some((place, ah)) = other.filter(|(_, p)| p.protocol == ProtocolId::AH) {
            let _ = found.push(Both { esp, ah, ah_first: place < at });
        }
    }
    found
}

/// Why nothing was chosen from an offer for a child of ours, if that is for the sake of a bundle: one side wants one, and
/// the other does not, or it does not get through.
pub(super) fn mismatch(
    offer: &SaPayload<'_>,
    ours: &config::Child<'_>,
    encapsulated: bool,
) -> Option<Failure> {
    let wanted = !ours.around.is_empty();
    let (both, single) = (!bundles(offer).is_empty(), alone(offer).next().is_some());
    match (wanted, both) {
        (true, true) if encapsulated => Some(Failure::AhBehindNat),
        (true, false) => Some(Failure::BundleMismatch { ours: true }),
        (false, true) if !single => Some(Failure::BundleMismatch { ours: false }),
        _ => None,
    }
}

/// Those that are implemented, and get through.
fn integs<'s>(
    around: &'s [Integ],
    implemented: &'s Implemented<'_>,
) -> impl Iterator<Item = Integ> + use<'s> {
    around.iter().copied().filter(|integ| implemented.has_child_suite(Suite::ah(*integ)))
}

/// Whether there is anything to offer of what is wanted.
pub(super) fn can_offer(offer: &QuickOffer<'_>) -> bool {
    let esp = |ours: &ChildProposal<'_>| {
        wants_group(ours, offer.group) && suites(ours, false, &offer.implemented).next().is_some()
    };
    offer.proposals.iter().any(esp) && integs(offer.around, &offer.implemented).next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::proposal::{Lifetimes, accept_quick, choose_quick};
    use crate::wire::HEADER_LEN;
    use crate::wire::v1::{
        AhTransform, AuthAlgorithm, EspTransform, ExchangeType, Flags, Header, IpsecAttribute,
        LifeType, MessageWriter,
    };
    use ipsec_core::crypto::{Encr, Group};
    use ipsec_core::lifetime::Limits;

    extern crate std;
    use std::vec::Vec;

    const SHA1: Suite = Suite { encr: Encr::AES_CBC, key_bits: 128, integ: Integ::HMAC_SHA1_96 };
    const CAN: Implemented<'static> = Implemented {
        suites: &[SHA1, Suite::AES_128_GCM, Suite::AES_128_CBC_SHA256],
        integs: &[Integ::HMAC_SHA1_96, Integ::HMAC_SHA2_256_128],
        prfs: &[],
        groups: &[Group::MODP_2048],
        hybrid: false,
    };
    const OURS: ChildProposal<'static> =
        ChildProposal { suites: &[SHA1], groups: &[], additional: &[], esn: false };
    const AROUND: &[Integ] = &[Integ::HMAC_SHA2_256_128, Integ::HMAC_SHA1_96];
    const TUNNEL: Encapsulation = Encapsulation::TUNNEL;
    const TRANSPORT: Encapsulation = Encapsulation::TRANSPORT;

    fn body(fill: impl FnOnce(&mut SaWriter<'_, '_>) -> Result<(), NoRoom>) -> Vec<u8> {
        let header = Header::new(1, 0, ExchangeType::QUICK_MODE, Flags(0), 1);
        let mut buf = [0; 2048];
        let mut writer = MessageWriter::new(&mut buf, &header).unwrap();
        let mut fill = Some(fill);
        writer.sa(|w| fill.take().unwrap()(w)).unwrap();
        let len = writer.finish().unwrap();
        buf[HEADER_LEN + 4..len].to_vec()
    }

    /// A proposal with one transform, by SHA-1, as racoon writes it.
    fn by_sha1(
        w: &mut SaWriter<'_, '_>,
        (number, protocol, spi): (u8, ProtocolId, u32),
        mode: Encapsulation,
        seconds: u32,
    ) -> Result<(), NoRoom> {
        let ah = protocol == ProtocolId::AH;
        let id = if ah { AhTransform::SHA.0 } else { EspTransform::AES_CBC.0 };
        w.proposal(number, protocol, &spi.to_be_bytes())?.transform(id, |t| {
            t.short(IpsecAttribute::LIFE_TYPE.0, LifeType::SECONDS.0)?;
            t.number(IpsecAttribute::LIFE_DURATION.0, seconds)?;
            t.short(IpsecAttribute::ENCAPSULATION.0, mode.0)?;
            if !ah {
                t.short(IpsecAttribute::KEY_LENGTH.0, 128)?;
            }
            t.short(IpsecAttribute::AUTHENTICATION.0, AuthAlgorithm::HMAC_SHA.0)
        })
    }

    fn pick<'a>(
        offer: &SaPayload<'a>,
        ours: &ChildProposal<'_>,
        mode: Encapsulation,
    ) -> Result<QuickChoice<'a>, Unmet> {
        choose(offer, (core::slice::from_ref(ours), AROUND), &CAN, &|e| e == mode)
    }

    /// What racoon offered, decrypted.
    const RACOON: [u8; 84] = [
        0, 0, 0, 1, 0, 0, 0, 1, // DOI, situation
        2, 0, 0, 36, 1, 2, 4, 1, 0x01, 0x44, 0xfd, 0x4e, // proposal 1, AH
        0, 0, 0, 24, 1, 3, 0, 0, 0x80, 1, 0, 1, 0x80, 2, 0x0e, 0x10, 0x80, 4, 0, 2, 0x80, 5, 0, 2,
        0, 0, 0, 40, 1, 3, 4, 1, 0x0b, 0xba, 0xc6, 0xee, // proposal 1, ESP
        0, 0, 0, 28, 1, 12, 0, 0, 0x80, 1, 0, 1, 0x80, 2, 0x0e, 0x10, 0x80, 4, 0, 1, 0x80, 6, 0,
        128, 0x80, 5, 0, 2,
    ];

    #[test]
    fn an_offer_of_racoon() {
        let offer = SaPayload::parse(&RACOON).unwrap();
        let chosen = pick(&offer, &OURS, TUNNEL).unwrap();
        let around = chosen.around.unwrap();
        assert_eq!((chosen.spi.get(), around.spi.get()), (0x0bba_c6ee, 0x0144_fd4e));
        assert_eq!((chosen.choice.suite, around.integ), (SHA1, Integ::HMAC_SHA1_96));
        // The answer differs in the SPIs only.
        let mut expected = RACOON;
        expected[16..20].copy_from_slice(&[0, 0, 0x33, 0x33]);
        expected[52..56].copy_from_slice(&[0, 0, 0x44, 0x44]);
        assert_eq!(body(|w| answer(w, &chosen, &around, (0x4444, 0x3333))), expected);
    }

    /// What racoon offers, with and without `complex_bundle`, and what others do: AH before ESP or behind it, in tunnel or in
    /// transport mode. The answer has the order of the offer.
    #[test]
    fn offers_of_others() {
        for (inside, outside, fits) in [
            (TUNNEL, TUNNEL, true),
            (TUNNEL, TRANSPORT, true),
            (TRANSPORT, TRANSPORT, true),
            (TRANSPORT, TUNNEL, false),
            (TUNNEL, Encapsulation::UDP_TUNNEL, false),
        ] {
            for first in [true, false] {
                let ah = |w: &mut SaWriter<'_, '_>| {
                    by_sha1(w, (1, ProtocolId::AH, 0x1111), outside, 3600)
                };
                let esp = |w: &mut SaWriter<'_, '_>| {
                    by_sha1(w, (1, ProtocolId::ESP, 0x2222), inside, 1800)
                };
                let offer = body(|w| {
                    if first {
                        ah(w)?;
                    }
                    esp(w)?;
                    if first { Ok(()) } else { ah(w) }
                });
                let offer = SaPayload::parse(&offer).unwrap();
                let chosen = pick(&offer, &OURS, inside);
                assert_eq!(chosen.is_ok(), fits, "{inside:?} {outside:?}");
                let Ok(chosen) = chosen else { continue };
                let around = chosen.around.unwrap();
                assert_eq!((chosen.spi.get(), around.spi.get()), (0x2222, 0x1111));
                assert_eq!((chosen.choice.suite, around.integ), (SHA1, Integ::HMAC_SHA1_96));
                assert_eq!(chosen.transport, inside == TRANSPORT);
                // RFC 2407 section 4.5.4: the shorter counts, and the two end together.
                assert_eq!(chosen.lifetime, Lifetimes { seconds: 1800, kilobytes: 0 });
                let answer = body(|w| answer(w, &chosen, &around, (0x4444, 0x3333)));
                let answer = SaPayload::parse(&answer).unwrap();
                let said: Vec<_> =
                    answer.proposals().map(|p| (p.number, p.protocol, p.spi_u32())).collect();
                let mut expected =
                    [(1, ProtocolId::AH, Some(0x3333)), (1, ProtocolId::ESP, Some(0x4444))];
                if !first {
                    expected.reverse();
                }
                assert_eq!(said, expected);
            }
        }
    }

    /// RFC 2408 section 4.2: nothing else is a bundle, and a bundle is nothing else.
    #[test]
    fn what_is_no_bundle() {
        let (esp, ah) = ((1, ProtocolId::ESP, 0x2222), (1, ProtocolId::AH, 0x1111));
        let ipcomp = (1, ProtocolId::IPCOMP, 0x3333);
        for (parts, together, alone) in [
            (&[esp, ah][..], true, false),
            (&[esp], false, true),
            (&[ah], false, false),
            (&[esp, (2, ProtocolId::AH, 0x1111)], false, true),
            (&[esp, ipcomp], false, false),
            (&[esp, ah, ipcomp], false, false),
            (&[ah, esp, esp], false, false),
            (&[esp, esp], false, false),
            (&[esp, (1, ProtocolId::AH, 0)], false, false),
            (&[(1, ProtocolId::ESP, 7), ah], false, false),
            (&[ipcomp, (2, ProtocolId::AH, 0x1111), (2, ProtocolId::ESP, 0x2222)], true, false),
        ] {
            let offer = body(|w| parts.iter().try_for_each(|part| by_sha1(w, *part, TUNNEL, 60)));
            let offer = SaPayload::parse(&offer).unwrap();
            assert_eq!(pick(&offer, &OURS, TUNNEL).is_ok(), together, "{parts:?}");
            let single = choose_quick(&offer, &[OURS], &CAN, &|_| true);
            assert_eq!(single.is_ok(), alone, "{parts:?}");
        }
    }

    /// A peer that offers many bundles costs no more than one that offers a few.
    #[test]
    fn so_many_bundles_are_looked_at() {
        let offer = |bundles: u8, fitting: u8| {
            body(|w| {
                (1..=bundles).try_for_each(|number| {
                    let mode = if number == fitting { TUNNEL } else { TRANSPORT };
                    by_sha1(w, (number, ProtocolId::AH, 0x1111), TUNNEL, 60)?;
                    by_sha1(w, (number, ProtocolId::ESP, 0x2222), mode, 60)
                })
            })
        };
        for (fitting, fits) in [(1, true), (16, true), (17, false)] {
            let offer = offer(20, fitting);
            let offer = SaPayload::parse(&offer).unwrap();
            assert_eq!(pick(&offer, &OURS, TUNNEL).is_ok(), fits, "{fitting}");
        }
        let offer = offer(24, 0);
        let offer = SaPayload::parse(&offer).unwrap();
        let asked = core::cell::Cell::new(0);
        let never = |_| {
            asked.set(asked.get() + 1);
            false
        };
        assert!(choose(&offer, (&[OURS], AROUND), &CAN, &never).is_err());
        assert_eq!(asked.get(), MAX_BUNDLES * AROUND.len());
    }

    /// Both modes of AH are offered around a tunnel, and one around transport mode; each may be answered, and nothing that
    /// was not offered.
    #[test]
    fn what_we_offer() {
        let pfs = ChildProposal { groups: &[Group::MODP_2048], ..OURS };
        for (mode, ours, group, bundled) in [
            (TUNNEL, OURS, Group::NONE, 2),
            (TRANSPORT, OURS, Group::NONE, 1),
            (TUNNEL, pfs, Group::MODP_2048, 2),
            (TUNNEL, pfs, Group::NONE, 0),
        ] {
            let ours = [ours];
            let wanted = QuickOffer {
                proposals: &ours,
                around: AROUND,
                implemented: CAN,
                encapsulation: mode,
                lifetime: Limits::NONE,
                group,
            };
            assert_eq!(can_offer(&wanted), bundled > 0);
            if bundled == 0 {
                continue;
            }
            let offered = body(|w| offer(w, &wanted, 0x2222, 0x1111));
            let offered = SaPayload::parse(&offered).unwrap();
            assert_eq!(bundles(&offered).len(), bundled);
            assert!(
                bundles(&offered).iter().all(|both| both.ah.transforms().count() == AROUND.len())
            );
            let chosen = pick(&offered, &ours[0], mode).unwrap();
            let around = chosen.around.unwrap();
            assert_eq!((chosen.choice.group, around.integ), (group, AROUND[0]));
            let answered = body(|w| answer(w, &chosen, &around, (0x4444, 0x3333)));
            let answered = SaPayload::parse(&answered).unwrap();
            let accepted = accept_quick(&answered, &wanted).unwrap();
            assert_eq!((accepted.choice, accepted.spi.get()), (chosen.choice, 0x4444));
            assert_eq!(accepted.around.unwrap().spi.get(), 0x3333);
            // ESP alone for both, or all of the offer again.
            let alone = body(|w| by_sha1(w, (1, ProtocolId::ESP, 0x4444), mode, 60));
            assert!(accept_quick(&SaPayload::parse(&alone).unwrap(), &wanted).is_none());
            assert!(accept_quick(&offered, &wanted).is_none());
            let other = QuickOffer { around: &[Integ::HMAC_SHA1_96], ..wanted };
            assert!(accept_quick(&answered, &other).is_none());
            let behind_nat = QuickOffer { implemented: CAN.through(true), ..other };
            assert!(!can_offer(&behind_nat));
            assert!(accept_quick(&answered, &behind_nat).is_none());
        }
    }

    /// RFC 2409 section 5.5: one key exchange is for all that is agreed.
    #[test]
    fn one_group_for_both() {
        let ours = ChildProposal { groups: &[Group::MODP_2048], ..OURS };
        for (groups, fits) in [([14, 14], true), ([14, 0], false), ([0, 14], false)] {
            let offer = body(|w| {
                let ids = [(ProtocolId::AH, AhTransform::SHA.0), (ProtocolId::ESP, 12)];
                groups.into_iter().zip(ids).try_for_each(|(group, (protocol, id))| {
                    w.proposal(1, protocol, &[0, 0, 1, 2])?.transform(id, |t| {
                        t.short(IpsecAttribute::ENCAPSULATION.0, TUNNEL.0)?;
                        t.short(IpsecAttribute::AUTHENTICATION.0, AuthAlgorithm::HMAC_SHA.0)?;
                        if protocol == ProtocolId::ESP {
                            t.short(IpsecAttribute::KEY_LENGTH.0, 128)?;
                        }
                        if group == 0 {
                            return Ok(());
                        }
                        t.short(IpsecAttribute::GROUP.0, group)
                    })
                })
            });
            let offer = SaPayload::parse(&offer).unwrap();
            let chosen = pick(&offer, &ours, TUNNEL);
            assert_eq!(chosen.is_ok(), fits, "{groups:?}");
            if let Err(unmet) = chosen {
                assert_eq!(unmet.group, Some(Group::NONE));
            }
        }
    }
}
