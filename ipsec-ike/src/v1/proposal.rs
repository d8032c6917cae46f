//! Offering and choosing the parameters of phase 1 and of phase 2 (RFC 2409 section 4 and appendix A, RFC 2407 section 4.5).
//!
//! In the configuration, a proposal is any suite with any function and any group, as for IKEv2; here a transform is a whole
//! choice, so that an offer is their product.

use core::time::Duration;

use ipsec_core::crypto::{Encr, Group, Integ, Suite};
use ipsec_core::lifetime::{Lifetime, Limits};
use ipsec_core::sa::Spi;

use super::bundle::{self, AhChoice};
use super::mismatch::{Parameter, Phase1Mismatch, Value, Values};
use super::numbers::{ESP, ah_of, auth_of, cipher_of, encr_of, esp_of, hash_of, integ_of, prf_of};
use crate::config::{ChildProposal, Phase1Proposal};
use crate::event::{Offer, Offered};
use crate::proposal::{ChildChoice, IkeChoice, Implemented};
use crate::wire::NoRoom;
use crate::wire::TransformType;
use crate::wire::v1::{
    Attributes, AuthAlgorithm, AuthMethod, Cipher, Encapsulation, Hash, IkeAttribute,
    IpsecAttribute, IsakmpTransform, LifeType, Proposal, ProposalWriter, ProtocolId, SaPayload,
    SaWriter, Transform, TransformWriter,
};

/// The most transforms of an offer that are looked at: bounds the work that a stranger can ask for.
pub(super) const MAX_LOOKED_AT: usize = 128;

/// The lifetime where none is said (RFC 2407 section 4.5.4, for phase 2).
const DEFAULT_SECONDS: u32 = 28_800;

/// How long something may live. 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetimes {
    /// Seconds.
    pub(crate) seconds: u32,
    /// Kilobytes.
    pub(crate) kilobytes: u32,
}

impl Lifetimes {
    /// No limit: what an empty slot holds.
    pub(crate) const EMPTY: Self = Self { seconds: 0, kilobytes: 0 };

    /// The time; [`Duration::MAX`] without a limit.
    pub(super) const fn time(self) -> Duration {
        if self.seconds == 0 { Duration::MAX } else { Duration::from_secs(self.seconds as u64) }
    }

    /// What is said of these limits: those of time and of bytes.
    pub(super) fn of(limits: &Limits) -> Self {
        let said = |limit: u64, none: bool| {
            if none { 0 } else { u32::try_from(limit).unwrap_or(u32::MAX).max(1) }
        };
        Self {
            seconds: said(limits.time.as_secs(), limits.time == Limits::NONE.time),
            kilobytes: said(limits.bytes / 1024, limits.bytes == Limits::NONE.bytes),
        }
    }

    /// The shorter of each (RFC 2407 section 4.5.4).
    pub(super) fn shorter(self, other: Self) -> Self {
        let shorter = |a: u32, b: u32| if a == 0 || b == 0 { a.max(b) } else { a.min(b) };
        Self {
            seconds: shorter(self.seconds, other.seconds),
            kilobytes: shorter(self.kilobytes, other.kilobytes),
        }
    }

    /// What of a configured lifetime is left, as far as packets show it: that of time is the engine's.
    pub(crate) fn shorten(self, lifetime: Lifetime) -> Lifetime {
        let bytes = if self.kilobytes == 0 { u64::MAX } else { u64::from(self.kilobytes) << 10 };
        let Lifetime { mut soft, mut hard } = lifetime;
        hard.bytes = hard.bytes.min(bytes);
        // To rekey before the other side lets it expire.
        soft.bytes = soft.bytes.min(hard.bytes - hard.bytes / 8);
        Lifetime { soft, hard }
    }

    /// What a RESPONDER_LIFETIME says (RFC 2407 section 4.6.3.1); `None` if that is malformed.
    pub(super) fn said(data: &[u8]) -> Option<Self> {
        let mut said = (Self::EMPTY, LifeType(0));
        for attribute in Attributes::parse(data)?.iter() {
            match IpsecAttribute(attribute.kind) {
                IpsecAttribute::LIFE_TYPE => {
                    said.1 = LifeType(u16::try_from(attribute.number()).ok()?);
                }
                IpsecAttribute::LIFE_DURATION => said.0.take(said.1, attribute.number())?,
                _ => {}
            }
        }
        Some(said.0)
    }

    /// Writes the data of a RESPONDER_LIFETIME, or the attributes of a transform.
    pub(super) fn write(self, w: &mut TransformWriter<'_, '_>) -> Result<(), NoRoom> {
        for (unit, limit) in
            [(LifeType::SECONDS, self.seconds), (LifeType::KILOBYTES, self.kilobytes)]
        {
            if limit != 0 {
                w.short(IpsecAttribute::LIFE_TYPE.0, unit.0)?;
                w.number(IpsecAttribute::LIFE_DURATION.0, limit)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, unit: LifeType, limit: u64) -> Option<()> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        match unit {
            LifeType::SECONDS => self.seconds = limit,
            LifeType::KILOBYTES => self.kilobytes = limit,
            _ => return None,
        }
        Some(())
    }
}

// ---- phase 1 ----

/// What is chosen for phase 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phase1Choice<'a> {
    /// The algorithms; of the suite only the cipher.
    pub(super) choice: IkeChoice,
    /// The shorter lifetime of the two.
    pub(super) lifetime: Lifetimes,
    number: u8,
    transform: Transform<'a>,
}

/// The group of the first choice: what Aggressive Mode begins with. `None` if nothing can be offered.
pub(super) fn first_group(
    proposals: &[Phase1Proposal<'_>],
    implemented: &Implemented<'_>,
) -> Option<Group> {
    choices(proposals, implemented, None).next().map(|choice| choice.group)
}

/// Writes what we offer; with `only`, no other group: Aggressive Mode begins with a key exchange (RFC 2409 section 5).
pub(super) fn offer_phase1(
    w: &mut SaWriter<'_, '_>,
    proposals: &[Phase1Proposal<'_>],
    implemented: &Implemented<'_>,
    method: AuthMethod,
    only: Option<Group>,
    lifetime: Duration,
) -> Result<(), NoRoom> {
    let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
    let mut w = w.proposal(1, ProtocolId::ISAKMP, &[])?;
    choices(proposals, implemented, only).try_for_each(|choice| {
        let offered = OfferedPhase1::of(&choice, method).ok_or(NoRoom)?;
        w.transform(IsakmpTransform::KEY_IKE.0, |t| offered.write(t, seconds))
    })
}

/// Chooses from an offer, by our order of preference.
pub(super) fn choose_phase1<'a>(
    offer: &SaPayload<'a>,
    proposals: &[Phase1Proposal<'_>],
    implemented: &Implemented<'_>,
    method: AuthMethod,
) -> Option<Phase1Choice<'a>> {
    choices(proposals, implemented, None).find_map(|choice| {
        let ours = OfferedPhase1::of(&choice, method)?;
        transforms(offer).find_map(|(number, transform)| {
            let lifetime = OfferedPhase1::read(&transform)?.same_as(&ours)?;
            Some(Phase1Choice { choice, lifetime, number, transform })
        })
    })
}

/// What a responder chose from our offer; `None` if that is not one transform that we offered.
pub(super) fn accept_phase1<'a>(
    answer: &SaPayload<'a>,
    proposals: &[Phase1Proposal<'_>],
    implemented: &Implemented<'_>,
    method: AuthMethod,
) -> Option<Phase1Choice<'a>> {
    answer.single()?.single()?;
    choose_phase1(answer, proposals, implemented, method)
}

/// Writes the answer: the transform as it was offered (RFC 2409 section 5).
pub(super) fn answer_phase1(
    w: &mut SaWriter<'_, '_>,
    chosen: &Phase1Choice<'_>,
) -> Result<(), NoRoom> {
    w.proposal(chosen.number, ProtocolId::ISAKMP, &[])?.again(&chosen.transform)
}

/// Whether these algorithms are allowed: asked again when the peer's identity, and so its policy, is known.
pub(super) fn allows(proposals: &[Phase1Proposal<'_>], choice: &IkeChoice) -> bool {
    let same =
        |suite: &Suite| suite.encr == choice.suite.encr && suite.key_bits == choice.suite.key_bits;
    proposals.iter().any(|ours| {
        ours.suites.iter().any(same)
            && ours.prfs.contains(&choice.prf)
            && ours.groups.contains(&choice.group)
    })
}

/// Why nothing of an offer is acceptable: the first parameter that has no value in common. `methods` are ours.
#[inline(never)]
pub(super) fn mismatch(
    offer: &SaPayload<'_>,
    proposals: &[Phase1Proposal<'_>],
    implemented: &Implemented<'_>,
    methods: &[AuthMethod],
) -> Phase1Mismatch {
    let theirs = || transforms(offer).filter_map(|(_, t)| OfferedPhase1::read(&t));
    let ours = || {
        choices(proposals, implemented, None).flat_map(|choice| {
            methods.iter().filter_map(move |method| OfferedPhase1::of(&choice, *method))
        })
    };
    for parameter in Parameter::EACH {
        let (mut offered, mut wanted) = (Values::new(), Values::new());
        theirs().for_each(|theirs| add(&mut offered, theirs.value(parameter)));
        ours().for_each(|ours| add(&mut wanted, ours.value(parameter)));
        let common = wanted.iter().any(|ours| theirs().any(|t| t.value(parameter) == *ours));
        if !common {
            return Phase1Mismatch { parameter, offered, wanted };
        }
    }
    let (offered, wanted) = (Values::new(), Values::new());
    Phase1Mismatch { parameter: Parameter::Combination, offered, wanted }
}

/// All that may be offered or chosen, in order of preference.
fn choices<'s>(
    proposals: &'s [Phase1Proposal<'_>],
    implemented: &'s Implemented<'_>,
    only: Option<Group>,
) -> impl Iterator<Item = IkeChoice> + 's {
    proposals.iter().flat_map(move |ours| {
        ciphers(ours.suites, implemented).flat_map(move |suite| {
            let prfs = ours.prfs.iter().copied();
            let prfs = prfs.filter(|p| implemented.has_prf(*p) && hash_of(*p).is_some());
            prfs.flat_map(move |prf| {
                groups(ours.groups, implemented, only).map(move |group| {
                    let suite = Suite { integ: Integ::NONE, ..suite };
                    IkeChoice { suite, prf, group, ..IkeChoice::EMPTY }
                })
            })
        })
    })
}

/// The transforms of all proposals for ISAKMP, with the number of the proposal.
fn transforms<'a>(offer: &SaPayload<'a>) -> impl Iterator<Item = (u8, Transform<'a>)> + use<'a> {
    let isakmp = offer.proposals().filter(|p| p.protocol == ProtocolId::ISAKMP);
    isakmp.flat_map(|p| p.transforms().map(move |t| (p.number, t))).take(MAX_LOOKED_AT)
}

/// A transform of phase 1, by its numbers on the wire; 0 where an attribute is absent.
#[derive(Clone, Copy)]
struct OfferedPhase1 {
    cipher: Cipher,
    key_bits: u16,
    hash: Hash,
    group: Group,
    method: AuthMethod,
    lifetime: Lifetimes,
}

impl OfferedPhase1 {
    fn of(choice: &IkeChoice, method: AuthMethod) -> Option<Self> {
        Some(Self {
            cipher: cipher_of(choice.suite.encr)?,
            key_bits: choice.suite.key_bits,
            hash: hash_of(choice.prf)?,
            group: choice.group,
            method,
            lifetime: Lifetimes::EMPTY,
        })
    }

    /// `None` for a transform that is not of IKE, or has an attribute that we do not know, or a value that is no number of
    /// the registry.
    fn read(transform: &Transform<'_>) -> Option<Self> {
        (transform.id == IsakmpTransform::KEY_IKE.0).then_some(())?;
        let mut all = Self {
            cipher: Cipher(0),
            key_bits: 0,
            hash: Hash(0),
            group: Group::NONE,
            method: AuthMethod(0),
            lifetime: Lifetimes { seconds: DEFAULT_SECONDS, kilobytes: 0 },
        };
        let mut unit = LifeType(0);
        for attribute in transform.attributes.iter() {
            let short = u16::try_from(attribute.number());
            match IkeAttribute(attribute.kind) {
                IkeAttribute::ENCRYPTION => all.cipher = Cipher(short.ok()?),
                IkeAttribute::KEY_LENGTH => all.key_bits = short.ok()?,
                IkeAttribute::HASH => all.hash = Hash(short.ok()?),
                IkeAttribute::GROUP => all.group = Group(short.ok()?),
                IkeAttribute::AUTHENTICATION => all.method = AuthMethod(short.ok()?),
                IkeAttribute::LIFE_TYPE => unit = LifeType(short.ok()?),
                IkeAttribute::LIFE_DURATION => all.lifetime.take(unit, attribute.number())?,
                _ => return None,
            }
        }
        // Ciphers with one size of key have no attribute for it, but some send one.
        if all.cipher != Cipher::AES_CBC {
            all.key_bits = 0;
        }
        Some(all)
    }

    fn write(&self, t: &mut TransformWriter<'_, '_>, seconds: u32) -> Result<(), NoRoom> {
        t.short(IkeAttribute::ENCRYPTION.0, self.cipher.0)?;
        if self.key_bits != 0 {
            t.short(IkeAttribute::KEY_LENGTH.0, self.key_bits)?;
        }
        t.short(IkeAttribute::HASH.0, self.hash.0)?;
        t.short(IkeAttribute::GROUP.0, self.group.0)?;
        t.short(IkeAttribute::AUTHENTICATION.0, self.method.0)?;
        t.short(IkeAttribute::LIFE_TYPE.0, LifeType::SECONDS.0)?;
        t.number(IkeAttribute::LIFE_DURATION.0, seconds)
    }

    /// The lifetime, if all the rest is the same.
    fn same_as(&self, other: &Self) -> Option<Lifetimes> {
        let same = Parameter::EACH.iter().all(|p| self.value(*p) == other.value(*p));
        same.then_some(self.lifetime)
    }

    const fn value(&self, parameter: Parameter) -> Value {
        let (number, key_bits) = match parameter {
            Parameter::Encryption => (self.cipher.0, self.key_bits),
            Parameter::Hash => (self.hash.0, 0),
            Parameter::Group => (self.group.0, 0),
            Parameter::Authentication => (self.method.0, 0),
            Parameter::Combination => (0, 0),
        };
        Value { number, key_bits }
    }
}

/// The suites whose cipher has a number of IKEv1, each cipher once.
fn ciphers<'s>(
    suites: &'s [Suite],
    implemented: &'s Implemented<'_>,
) -> impl Iterator<Item = Suite> + 's {
    let same = |a: &Suite, b: &Suite| a.encr == b.encr && a.key_bits == b.key_bits;
    suites.iter().enumerate().filter_map(move |(i, suite)| {
        let first = !suites.iter().take(i).any(|earlier| same(earlier, suite));
        let can = implemented.suites.iter().any(|can| same(can, suite));
        (first && can && !suite.is_ah() && cipher_of(suite.encr).is_some()).then_some(*suite)
    })
}

/// The groups that have a number of IKEv1 (RFC 2409 section 6, RFC 3526, RFC 5903) and are implemented.
fn groups<'s>(
    groups: &'s [Group],
    implemented: &'s Implemented<'_>,
    only: Option<Group>,
) -> impl Iterator<Item = Group> + 's {
    groups.iter().copied().filter(move |group| {
        matches!(group.0, 1 | 2 | 5 | 14..=21)
            && implemented.has_group(*group)
            && only.is_none_or(|only| only == *group)
    })
}

fn add<T: PartialEq, const N: usize>(values: &mut heapless::Vec<T, N>, value: T) {
    if !values.contains(&value) {
        let _ = values.push(value);
    }
}

// ---- phase 2 ----

/// What is chosen for a child.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuickChoice<'a> {
    /// The algorithms.
    pub(super) choice: ChildChoice,
    /// The peer's SPI.
    pub(super) spi: Spi,
    /// Transport mode.
    pub(super) transport: bool,
    /// The lifetime that the peer said.
    pub(super) lifetime: Lifetimes,
    /// The AH of a bundle.
    pub(super) around: Option<AhChoice<'a>>,
    pub(super) encapsulation: Encapsulation,
    pub(super) number: u8,
    pub(super) transform: Transform<'a>,
}

/// What we offer for a child.
pub(super) struct QuickOffer<'a> {
    /// Its algorithms.
    pub(super) proposals: &'a [ChildProposal<'a>],
    /// Those of AH around ESP; empty without.
    pub(super) around: &'a [Integ],
    /// What the provider can do, and gets through.
    pub(super) implemented: Implemented<'static>,
    /// How its packets travel.
    pub(super) encapsulation: Encapsulation,
    /// Its lifetime.
    pub(super) lifetime: Limits,
    /// The group of the key exchange of its own, [`Group::NONE`] without: proposals that want it otherwise are left out.
    pub(super) group: Group,
}

/// Why nothing of an offer for a child is acceptable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unmet {
    /// The group that the peer wants, where all but that would do: [`Group::NONE`] if it wants no perfect forward secrecy.
    pub(super) group: Option<Group>,
    /// How the packets are to travel, where all but that would do.
    pub(super) mode: Option<Encapsulation>,
}

/// Writes what we offer for a child that receives on `spi`.
pub(super) fn offer_quick(
    w: &mut SaWriter<'_, '_>,
    offer: &QuickOffer<'_>,
    spi: u32,
) -> Result<(), NoRoom> {
    let spi = spi.to_be_bytes();
    let mut number = 0u8;
    for ours in offer.proposals.iter().filter(|ours| wants_group(ours, offer.group)) {
        for ah in [false, true] {
            let mut suites = suites(ours, ah, &offer.implemented).peekable();
            if suites.peek().is_none() {
                continue;
            }
            number = number.checked_add(1).ok_or(NoRoom)?;
            let mut w = w.proposal(number, protocol_of(ah), &spi)?;
            for suite in suites {
                OfferedPhase2::offered(suite, ours, offer).ok_or(NoRoom)?.write(&mut w)?;
            }
        }
    }
    Ok(())
}

/// The suites of a proposal of ours, of ESP or of AH, that are implemented and have a number in IKEv1.
pub(super) fn suites<'s>(
    ours: &'s ChildProposal<'_>,
    ah: bool,
    implemented: &'s Implemented<'_>,
) -> impl Iterator<Item = Suite> + use<'s> {
    let usable = move |suite: &Suite| {
        suite.is_ah() == ah
            && implemented.has_child_suite(*suite)
            && OfferedPhase2::of(*suite).is_some()
    };
    ours.suites.iter().copied().filter(usable)
}

/// What a responder chose from our offer for a child; `None` if that is not one transform that we offered.
pub(super) fn accept_quick<'a>(
    answer: &SaPayload<'a>,
    offer: &QuickOffer<'_>,
) -> Option<QuickChoice<'a>> {
    let mode = |encapsulation| encapsulation == offer.encapsulation;
    let chosen = if offer.around.is_empty() {
        answer.single()?.single()?;
        choose_quick(answer, offer.proposals, &offer.implemented, &mode).ok()?
    } else {
        bundle::accept(answer, offer, &mode)?
    };
    (chosen.choice.group == offer.group).then_some(chosen)
}

/// Chooses from an offer for a child, by our order of preference. `modes` says in which ways its packets may travel.
///
/// Groups in our proposal mean that one of them must be chosen, and no groups that none may be.
pub(super) fn choose_quick<'a>(
    offer: &SaPayload<'a>,
    proposals: &[ChildProposal<'_>],
    implemented: &Implemented<'_>,
    modes: &dyn Fn(Encapsulation) -> bool,
) -> Result<QuickChoice<'a>, Unmet> {
    let mut unmet = Unmet::default();
    for ours in proposals {
        for suite in ours.suites.iter().filter(|suite| implemented.has_child_suite(**suite)) {
            let chosen =
                alone(offer).find_map(|one| fit(ours, *suite, one, implemented, modes, &mut unmet));
            if let Some(chosen) = chosen {
                return Ok(chosen);
            }
        }
    }
    Err(unmet)
}

/// What is chosen if this transform is one that our proposal allows, with this suite of it. `unmet` tells where it almost
/// is.
pub(super) fn fit<'a>(
    ours: &ChildProposal<'_>,
    suite: Suite,
    (proposal, transform): (Proposal<'a>, Transform<'a>),
    implemented: &Implemented<'_>,
    modes: &dyn Fn(Encapsulation) -> bool,
    unmet: &mut Unmet,
) -> Option<QuickChoice<'a>> {
    let wanted = OfferedPhase2::of(suite)?;
    let theirs = OfferedPhase2::read(&proposal, &transform)?;
    if !theirs.has_suite_of(&wanted) || theirs.esn != ours.esn {
        return None;
    }
    let spi = proposal.spi_u32().and_then(Spi::new)?;
    let OfferedPhase2 { group, encapsulation, lifetime, .. } = theirs;
    let group_fits =
        wants_group(ours, group) && (group == Group::NONE || implemented.has_group(group));
    if !group_fits {
        unmet.group = unmet.group.or(Some(group));
        return None;
    }
    if !modes(encapsulation) {
        unmet.mode = unmet.mode.or(Some(encapsulation));
        return None;
    }
    Some(QuickChoice {
        choice: ChildChoice { suite, esn: ours.esn, group, ..ChildChoice::EMPTY },
        spi,
        transport: encapsulation.is_transport(),
        lifetime,
        around: None,
        encapsulation,
        number: proposal.number,
        transform,
    })
}

/// Writes the answer: the transform as it was offered, with the SPI that we receive on.
pub(super) fn answer_quick(
    w: &mut SaWriter<'_, '_>,
    chosen: &QuickChoice<'_>,
    spi: u32,
) -> Result<(), NoRoom> {
    let protocol = protocol_of(chosen.choice.suite.is_ah());
    w.proposal(chosen.number, protocol, &spi.to_be_bytes())?.again(&chosen.transform)
}

/// The protocol of a suite.
pub(super) const fn protocol_of(ah: bool) -> ProtocolId {
    if ah { ProtocolId::AH } else { ProtocolId::ESP }
}

/// All algorithms of an offer by their numbers in IKEv2, each once, until the list is full: to explain a refusal.
pub(super) fn offer_of(offer: &SaPayload<'_>) -> Offer {
    let mut all = Offer::new();
    let mut note = |kind, id, key_bits| add(&mut all, Offered { kind, id, key_bits });
    for (_, transform) in transforms(offer) {
        let Some(theirs) = OfferedPhase1::read(&transform) else { continue };
        if let Some(encr) = encr_of(theirs.cipher) {
            note(TransformType::ENCR, encr.0, theirs.key_bits);
        }
        if let Some(prf) = prf_of(theirs.hash) {
            note(TransformType::PRF, prf.0, 0);
        }
        note(TransformType::KE, theirs.group.0, 0);
    }
    let bundles = bundle::bundles(offer);
    let both = bundles.iter().flat_map(|both| [both.esp, both.ah]);
    let bundled = both.flat_map(|p| p.transforms().map(move |t| (p, t))).take(MAX_LOOKED_AT);
    for (proposal, transform) in alone(offer).chain(bundled) {
        let Some(theirs) = OfferedPhase2::read(&proposal, &transform) else { continue };
        if let Some(encr) = theirs.encr() {
            note(TransformType::ENCR, encr.0, theirs.key_bits);
        }
        if let Some(integ) = integ_of(theirs.auth) {
            note(TransformType::INTEG, integ.0, 0);
        }
        if theirs.group != Group::NONE {
            note(TransformType::KE, theirs.group.0, 0);
        }
        note(TransformType::ESN, u16::from(theirs.esn), 0);
    }
    all
}

/// Proposals that stand alone, each with each of its transforms: several of one number are wanted together
/// ([`bundle::bundles`]).
pub(super) fn alone<'a>(
    offer: &SaPayload<'a>,
) -> impl Iterator<Item = (Proposal<'a>, Transform<'a>)> + use<'a> {
    let numbers = Numbers::of(offer);
    let single = offer.proposals().take(MAX_LOOKED_AT).filter(move |p| {
        matches!(p.protocol, ProtocolId::AH | ProtocolId::ESP) && numbers.count(p.number) == 1
    });
    single.flat_map(|p| p.transforms().map(move |t| (p, t))).take(MAX_LOOKED_AT)
}

/// How many of the proposals of an offer that are looked at have which number (RFC 2408 section 4.2).
pub(super) struct Numbers([u8; 256]);

impl Numbers {
    pub(super) fn of(offer: &SaPayload<'_>) -> Self {
        let mut counts = [0u8; 256];
        for proposal in offer.proposals().take(MAX_LOOKED_AT) {
            if let Some(count) = counts.get_mut(usize::from(proposal.number)) {
                *count = count.saturating_add(1);
            }
        }
        Self(counts)
    }

    pub(super) fn count(&self, number: u8) -> u8 {
        self.0.get(usize::from(number)).copied().unwrap_or(0)
    }
}

/// Whether a proposal of ours is for a child with this group.
pub(super) fn wants_group(ours: &ChildProposal<'_>, group: Group) -> bool {
    if group == Group::NONE { ours.groups.is_empty() } else { ours.groups.contains(&group) }
}

/// A transform of phase 2, by its numbers on the wire.
#[derive(Clone, Copy)]
pub(super) struct OfferedPhase2 {
    protocol: ProtocolId,
    id: u8,
    key_bits: u16,
    auth: AuthAlgorithm,
    group: Group,
    esn: bool,
    pub(super) encapsulation: Encapsulation,
    lifetime: Lifetimes,
}

impl OfferedPhase2 {
    /// A suite of a proposal of ours, as we offer it. `None` where IKEv1 has no number for it.
    pub(super) fn offered(
        suite: Suite,
        ours: &ChildProposal<'_>,
        offer: &QuickOffer<'_>,
    ) -> Option<Self> {
        let QuickOffer { group, encapsulation, .. } = *offer;
        let lifetime = Lifetimes::of(&offer.lifetime);
        Some(Self { group, esn: ours.esn, encapsulation, lifetime, ..Self::of(suite)? })
    }

    /// `None` where IKEv1 has no number for a suite.
    fn of(suite: Suite) -> Option<Self> {
        let auth =
            if suite.integ == Integ::NONE { AuthAlgorithm(0) } else { auth_of(suite.integ)? };
        let (protocol, id) = if suite.is_ah() {
            (ProtocolId::AH, ah_of(auth)?.0)
        } else {
            (ProtocolId::ESP, esp_of(suite.encr)?.0)
        };
        let (group, esn) = (Group::NONE, false);
        let (encapsulation, lifetime) = (Encapsulation::TUNNEL, Lifetimes::EMPTY);
        let key_bits = suite.key_bits;
        Some(Self { protocol, id, key_bits, auth, group, esn, encapsulation, lifetime })
    }

    /// `None` for a transform that has an attribute that we do not know, or a value that is no number of the registry.
    fn read(proposal: &Proposal<'_>, transform: &Transform<'_>) -> Option<Self> {
        let mut all = Self {
            protocol: proposal.protocol,
            id: transform.id,
            key_bits: 0,
            auth: AuthAlgorithm(0),
            group: Group::NONE,
            esn: false,
            encapsulation: Encapsulation::TUNNEL,
            lifetime: Lifetimes::EMPTY,
        };
        let mut unit = LifeType(0);
        for attribute in transform.attributes.iter() {
            let short = u16::try_from(attribute.number());
            match IpsecAttribute(attribute.kind) {
                IpsecAttribute::LIFE_TYPE => unit = LifeType(short.ok()?),
                IpsecAttribute::LIFE_DURATION => all.lifetime.take(unit, attribute.number())?,
                IpsecAttribute::GROUP => all.group = Group(short.ok()?),
                IpsecAttribute::ENCAPSULATION => all.encapsulation = Encapsulation(short.ok()?),
                IpsecAttribute::AUTHENTICATION => all.auth = AuthAlgorithm(short.ok()?),
                IpsecAttribute::KEY_LENGTH => all.key_bits = short.ok()?,
                IpsecAttribute::ESN => all.esn = short.ok()? != 0,
                _ => return None,
            }
        }
        if all.lifetime.seconds == 0 {
            all.lifetime.seconds = DEFAULT_SECONDS;
        }
        // Some say the key length of ciphers that have only one.
        if !all.encr().is_some_and(Encr::has_key_length) {
            all.key_bits = 0;
        }
        Some(all)
    }

    pub(super) fn write(&self, w: &mut ProposalWriter<'_, '_>) -> Result<(), NoRoom> {
        w.transform(self.id, |t| {
            t.short(IpsecAttribute::ENCAPSULATION.0, self.encapsulation.0)?;
            self.lifetime.write(t)?;
            if self.key_bits != 0 {
                t.short(IpsecAttribute::KEY_LENGTH.0, self.key_bits)?;
            }
            if self.auth.0 != 0 {
                t.short(IpsecAttribute::AUTHENTICATION.0, self.auth.0)?;
            }
            if self.group != Group::NONE {
                t.short(IpsecAttribute::GROUP.0, self.group.0)?;
            }
            if self.esn {
                t.short(IpsecAttribute::ESN.0, 1)?;
            }
            Ok(())
        })
    }

    fn has_suite_of(&self, other: &Self) -> bool {
        let suite = |all: &Self| (all.protocol, all.id, all.key_bits, all.auth);
        suite(self) == suite(other)
    }

    /// The cipher; `None` of AH, and where it is unknown.
    fn encr(&self) -> Option<Encr> {
        let of = |encr: &&Encr| esp_of(**encr).is_some_and(|id| id.0 == self.id);
        let esp = self.protocol == ProtocolId::ESP;
        ESP.iter().find(|encr| esp && of(encr)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::HEADER_LEN;
    use crate::wire::v1::testdata::{CONVERSATIONS, Conversation, Said};
    use crate::wire::v1::{
        Collected, ExchangeType, Flags, Header, Message, MessageWriter, Payloads,
    };
    use ipsec_core::crypto::PrfId;

    extern crate std;
    use std::string::ToString;
    use std::vec::Vec;

    const CAN: Implemented<'static> = Implemented {
        suites: &[
            Suite::AES_128_GCM,
            Suite::AES_128_CBC_SHA256,
            Suite::AES_256_CBC_SHA256,
            AES_256_CBC_SHA1,
            DES3_MD5,
        ],
        hybrid: false,
        integs: &[Integ::HMAC_SHA2_256_128, Integ::HMAC_SHA1_96],
        prfs: &[
            PrfId::HMAC_SHA2_256,
            PrfId::HMAC_SHA2_384,
            PrfId::HMAC_SHA2_512,
            PrfId::HMAC_SHA1,
            PrfId::HMAC_MD5,
            PrfId::AES128_CMAC,
        ],
        groups: &[Group::P256, Group::MODP_2048, Group::MODP_1024, Group::X25519],
    };
    const AES_256_CBC_SHA1: Suite =
        Suite { encr: Encr::AES_CBC, key_bits: 256, integ: Integ::HMAC_SHA1_96 };
    const DES3_MD5: Suite = Suite { encr: Encr::DES3, key_bits: 0, integ: Integ::HMAC_MD5_96 };
    const HOUR: Duration = Duration::from_secs(3600);

    fn body(sa: impl FnOnce(&mut SaWriter<'_, '_>) -> Result<(), NoRoom>) -> Vec<u8> {
        let header = Header::new(1, 0, ExchangeType::QUICK_MODE, Flags(0), 1);
        let mut buf = [0; 4096];
        let mut writer = MessageWriter::new(&mut buf, &header).unwrap();
        // `sa` wants a closure for every lifetime of its writer.
        let mut sa = Some(sa);
        writer.sa(|w| sa.take().unwrap()(w)).unwrap();
        let len = writer.finish().unwrap();
        buf[HEADER_LEN + 4..len].to_vec()
    }

    /// The SA payload of a message of strongSwan's.
    fn sa_of(said: &Said) -> Vec<u8> {
        let datagram = said.datagram();
        let header = Message::parse(&datagram).unwrap().header;
        let plain =
            if header.is_encrypted() { said.plain() } else { datagram[HEADER_LEN..].to_vec() };
        let all = Collected::collect(Payloads::padded(header.next_payload, &plain)).unwrap();
        all.sa.unwrap().body().to_vec()
    }

    fn method(conversation: &Conversation) -> AuthMethod {
        if conversation.what.contains("XAUTH") {
            AuthMethod::XAUTH_INIT_PSK
        } else {
            AuthMethod::PSK
        }
    }

    fn phase1<'a>(
        suites: &'a [Suite],
        prfs: &'a [PrfId],
        groups: &'a [Group],
    ) -> Phase1Proposal<'a> {
        Phase1Proposal { suites, prfs, groups }
    }

    /// RFC 2409 section 5: the answer is the transform as it was offered. strongSwan offers and answers so.
    #[test]
    fn phase_1_with_strongswan() {
        for conversation in CONVERSATIONS {
            let (encr, key_bits) = conversation.cipher;
            let suites = [Suite { encr, key_bits, integ: Integ::NONE }];
            let groups = [Group::MODP_2048, Group::P256, Group::MODP_1024];
            let ours = [phase1(&suites, core::slice::from_ref(&conversation.prf), &groups)];
            let (offer, answer) = (sa_of(&conversation.said[0]), sa_of(&conversation.said[1]));
            let offer = SaPayload::parse(&offer).unwrap();
            let method = method(conversation);
            let chosen = choose_phase1(&offer, &ours, &CAN, method).unwrap();
            assert_eq!((chosen.choice.suite, chosen.choice.prf), (suites[0], conversation.prf));
            assert_eq!(chosen.lifetime.seconds, 15_840);
            assert!(allows(&ours, &chosen.choice));
            assert_eq!(body(|w| answer_phase1(w, &chosen)), answer, "{}", conversation.what);
            let accepted = SaPayload::parse(&answer).unwrap();
            let accepted = accept_phase1(&accepted, &ours, &CAN, method).unwrap();
            assert_eq!(accepted.choice, chosen.choice);
            assert!(choose_phase1(&offer, &ours, &CAN, AuthMethod::RSA_SIGNATURES).is_none());
        }
    }

    /// RFC 2407 section 4.5, RFC 3947 section 5.1: all quick modes are in UDP.
    #[test]
    fn phase_2_with_strongswan() {
        for conversation in CONVERSATIONS {
            let encrypted = |s: &&Said| s.datagram()[18] == ExchangeType::QUICK_MODE.0;
            let quick: Vec<_> = conversation.said.iter().filter(encrypted).collect();
            let (offer, answer) = (sa_of(quick[0]), sa_of(quick[1]));
            let (offer, answered) =
                (SaPayload::parse(&offer).unwrap(), SaPayload::parse(&answer).unwrap());
            let pfs = !conversation.secrets[1].is_empty();
            let groups: &[Group] = if pfs { &[Group::MODP_2048] } else { &[] };
            let suites = [conversation.suite];
            let ours = ChildProposal { suites: &suites, groups, esn: false, additional: &[] };
            let udp = |e: Encapsulation| e == Encapsulation::UDP_TUNNEL;
            let chosen = choose_quick(&offer, &[ours], &CAN, &udp).unwrap();
            assert_eq!(
                (chosen.choice.suite, chosen.choice.esn, chosen.transport),
                (suites[0], false, false)
            );
            assert_eq!(chosen.choice.group != Group::NONE, pfs);
            let spi = answered.single().unwrap().spi_u32().unwrap();
            assert_eq!(body(|w| answer_quick(w, &chosen, spi)), answer, "{}", conversation.what);

            let offered = QuickOffer {
                proposals: &[ours],
                around: &[],
                implemented: CAN,
                encapsulation: Encapsulation::UDP_TUNNEL,
                lifetime: Limits { time: HOUR, ..Limits::NONE },
                group: groups.first().copied().unwrap_or(Group::NONE),
            };
            let accepted = accept_quick(&answered, &offered).unwrap();
            assert_eq!((accepted.choice, accepted.spi.get()), (chosen.choice, spi));
            let tunnel = QuickOffer { encapsulation: Encapsulation::TUNNEL, ..offered };
            assert!(accept_quick(&answered, &tunnel).is_none());

            // Refused for one reason each.
            let tunnel = |e: Encapsulation| e == Encapsulation::TUNNEL;
            assert_eq!(
                choose_quick(&offer, &[ours], &CAN, &tunnel).unwrap_err(),
                Unmet { group: None, mode: Some(Encapsulation::UDP_TUNNEL) }
            );
            let other = if pfs { &[][..] } else { &[Group::MODP_2048] };
            let wanted = if pfs { Group::MODP_2048 } else { Group::NONE };
            let other = ChildProposal { groups: other, ..ours };
            assert_eq!(
                choose_quick(&offer, &[other], &CAN, &udp).unwrap_err(),
                Unmet { group: Some(wanted), mode: None }
            );
            let esn = ChildProposal { esn: true, ..ours };
            let ah = ChildProposal { suites: &[Suite::ah(Integ::HMAC_SHA1_96)], ..ours };
            for other in [esn, ah] {
                let none = Unmet { group: None, mode: None };
                assert_eq!(choose_quick(&offer, &[other], &CAN, &udp).unwrap_err(), none);
            }
            let Suite { encr, key_bits, .. } = conversation.suite;
            let listed = Offered { kind: TransformType::ENCR, id: encr.0, key_bits };
            assert!(offer_of(&offer).contains(&listed));
        }
    }

    const BOTH: [Suite; 2] = [
        Suite { encr: Encr::AES_CBC, key_bits: 256, integ: Integ::NONE },
        Suite { encr: Encr::AES_CBC, key_bits: 128, integ: Integ::NONE },
    ];

    #[test]
    fn what_we_offer_for_phase_1() {
        let ours = [
            // Only ciphers of CBC mode, HMACs and groups of IKEv1 are offered, each once.
            phase1(
                &[Suite::AES_128_GCM, BOTH[0], Suite::AES_256_CBC_SHA256, BOTH[1]],
                &[PrfId::AES128_CMAC, PrfId::HMAC_SHA2_256, PrfId::HMAC_SHA1],
                &[Group::X25519, Group::P384, Group::P256, Group::MODP_2048],
            ),
        ];
        let offer = body(|w| offer_phase1(w, &ours, &CAN, AuthMethod::PSK, None, HOUR * 24));
        let offer = SaPayload::parse(&offer).unwrap();
        assert_eq!(transforms(&offer).count(), 2 * 2 * 2);
        assert_eq!(first_group(&ours, &CAN), Some(Group::P256));
        let chosen = choose_phase1(&offer, &ours, &CAN, AuthMethod::PSK).unwrap();
        assert_eq!(chosen.choice.suite, BOTH[0]);
        assert_eq!(chosen.lifetime.time(), HOUR * 24);
        let only = Some(Group::MODP_2048);
        let one = body(|w| offer_phase1(w, &ours, &CAN, AuthMethod::PSK, only, HOUR));
        let one = SaPayload::parse(&one).unwrap();
        assert_eq!(transforms(&one).count(), 2 * 2);
        // Our order decides, not that of the offer.
        let reversed = [BOTH[1], BOTH[0]];
        let reversed = [phase1(&reversed, &[PrfId::HMAC_SHA1], &[Group::MODP_2048])];
        let chosen = choose_phase1(&offer, &reversed, &CAN, AuthMethod::PSK).unwrap();
        assert_eq!((chosen.choice.suite, chosen.choice.prf), (BOTH[1], PrfId::HMAC_SHA1));
        // An answer has one transform, and one that was offered.
        assert!(accept_phase1(&offer, &ours, &CAN, AuthMethod::PSK).is_none());
        assert_eq!(first_group(&[phase1(&BOTH, &[], &[Group::P256])], &CAN), None);
    }

    /// Which of the parameters is not in common, and what each side has.
    #[test]
    fn mismatches_have_words() {
        let (sha1, p256) = ([PrfId::HMAC_SHA1], [Group::P256]);
        let theirs = [phase1(&BOTH[..1], &sha1, &p256)];
        let offer = body(|w| offer_phase1(w, &theirs, &CAN, AuthMethod::PSK, None, HOUR));
        let offer = SaPayload::parse(&offer).unwrap();
        let why = |ours: &Phase1Proposal<'_>, method| {
            mismatch(&offer, &[*ours], &CAN, &[method]).to_string()
        };
        let psk = AuthMethod::PSK;
        for (ours, method, words) in [
            (
                phase1(&BOTH[1..], &sha1, &p256),
                psk,
                "encryption, the peer offers AES_CBC-256, we allow AES_CBC-128",
            ),
            (
                phase1(&BOTH, &[PrfId::HMAC_SHA2_256, PrfId::HMAC_SHA2_384], &p256),
                psk,
                "hash, the peer offers SHA, we allow SHA2_256 SHA2_384",
            ),
            (
                phase1(&BOTH, &sha1, &[Group::MODP_2048]),
                psk,
                "group, the peer offers P-256, we allow MODP-2048",
            ),
            (
                phase1(&BOTH, &sha1, &p256),
                AuthMethod::RSA_SIGNATURES,
                "authentication, the peer offers PSK, we allow RSA_SIGNATURES",
            ),
            (phase1(&BOTH, &sha1, &p256), psk, "combination of parameters"),
        ] {
            assert_eq!(why(&ours, method), words);
        }
    }

    #[test]
    fn what_we_offer_for_a_child() {
        let suites = [
            Suite::AES_128_GCM,
            AES_256_CBC_SHA1,
            Suite::CHACHA20_POLY1305,
            Suite::ah(Integ::HMAC_SHA2_256_128),
        ];
        let group = Group::MODP_2048;
        let plain = ChildProposal { suites: &suites, groups: &[], esn: false, additional: &[] };
        let pfs = ChildProposal { groups: &[Group::P256, group], esn: true, ..plain };
        let lifetime = Limits { time: HOUR, bytes: 1 << 30, ..Limits::NONE };
        let offer = QuickOffer {
            proposals: &[plain, pfs],
            around: &[],
            implemented: CAN,
            encapsulation: Encapsulation::TRANSPORT,
            lifetime,
            group,
        };
        let offered = body(|w| offer_quick(w, &offer, 0x1234_5678));
        let sa = SaPayload::parse(&offered).unwrap();
        let all: Vec<_> = alone(&sa).collect();
        let shown: Vec<_> = all.iter().map(|(p, t)| (p.number, p.protocol, t.id)).collect();
        assert_eq!(
            shown,
            [(1, ProtocolId::ESP, 20), (1, ProtocolId::ESP, 12), (2, ProtocolId::AH, 5)]
        );
        let transport = |e: Encapsulation| e.is_transport() && !e.is_udp();
        for suite in [suites[0], suites[1], suites[3]] {
            let ours =
                ChildProposal { suites: &[suite], groups: &[group], esn: true, additional: &[] };
            let chosen = choose_quick(&sa, &[ours], &CAN, &transport).unwrap();
            assert_eq!(
                (chosen.choice.suite, chosen.choice.esn, chosen.choice.group),
                (suite, true, group)
            );
            assert_eq!((chosen.spi.get(), chosen.transport), (0x1234_5678, true));
            assert_eq!(chosen.lifetime, Lifetimes { seconds: 3600, kilobytes: 1 << 20 });
            let answer = body(|w| answer_quick(w, &chosen, 0x9999));
            let answer = SaPayload::parse(&answer).unwrap();
            assert_eq!(accept_quick(&answer, &offer).unwrap().choice, chosen.choice);
            let without = QuickOffer { group: Group::NONE, ..offer };
            assert!(accept_quick(&answer, &without).is_none());
        }
    }

    /// RFC 2408 section 4.2: proposals of one number are wanted together, so none of them is chosen alone.
    #[test]
    fn a_bundle_is_not_taken_apart() {
        let gcm = ChildProposal {
            suites: &[Suite::AES_128_GCM],
            groups: &[],
            esn: false,
            additional: &[],
        };
        let offer = |second: u8| {
            body(|w| {
                for (number, protocol) in [(1, ProtocolId::ESP), (second, ProtocolId::IPCOMP)] {
                    let mut p = w.proposal(number, protocol, &[1, 2, 3, 4])?;
                    p.transform(20, |t| t.short(IpsecAttribute::KEY_LENGTH.0, 128))?;
                }
                Ok(())
            })
        };
        for (second, taken) in [(2, true), (1, false)] {
            let offer = offer(second);
            let sa = SaPayload::parse(&offer).unwrap();
            assert_eq!(choose_quick(&sa, &[gcm], &CAN, &|_| true).is_ok(), taken);
        }
    }

    /// RFC 2407 sections 4.5.4 and 4.6.3.1.
    #[test]
    fn lifetimes() {
        let of = |seconds, kilobytes| Lifetimes { seconds, kilobytes };
        assert_eq!(of(10, 0).shorter(of(20, 5)), of(10, 5));
        assert_eq!(of(0, 9).shorter(of(0, 5)), of(0, 5));
        let said = [0x80, 1, 0, 1, 0, 2, 0, 4, 0, 0, 0x70, 0x80, 0x80, 1, 0, 2, 0x80, 2, 0, 9];
        assert_eq!(Lifetimes::said(&said), Some(of(28_800, 9)));
        assert_eq!(Lifetimes::said(&said[..7]), None);
        assert_eq!(Lifetimes::said(&[0x80, 2, 0, 9]), None, "of no unit");
        assert_eq!(Lifetimes::of(&Limits::NONE), Lifetimes::EMPTY);
        assert_eq!(of(0, 3).time(), Duration::MAX);
    }

    #[test]
    fn attributes_that_nobody_knows_make_a_transform_unacceptable() {
        let gcm = ChildProposal {
            suites: &[Suite::AES_128_GCM],
            groups: &[],
            esn: false,
            additional: &[],
        };
        for further in [None, Some(IpsecAttribute::KEY_ROUNDS.0), Some(77)] {
            let offer = body(|w| {
                w.proposal(1, ProtocolId::ESP, &[1, 2, 3, 4])?.transform(20, |t| {
                    t.short(IpsecAttribute::KEY_LENGTH.0, 128)?;
                    further.map_or(Ok(()), |kind| t.short(kind, 1))
                })
            });
            let sa = SaPayload::parse(&offer).unwrap();
            assert_eq!(choose_quick(&sa, &[gcm], &CAN, &|_| true).is_ok(), further.is_none());
        }
    }
}
