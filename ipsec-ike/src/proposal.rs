//! Offering and choosing algorithms (RFC 7296 sections 2.7 and 3.3).
//!
//! In the configuration, a proposal is any suite with any function and any group. On the wire, encryption and integrity
//! are chosen independently of each other, and an AEAD has no integrity algorithm (RFC 5282 section 8). So suites
//! become one proposal for each distinct integrity algorithm, in the order in which these first appear.

use ipsec_core::crypto::{Encr, Group, Integ, Iv, PrfId, Provider, Suite};
use ipsec_core::sa::Spi;

use crate::config::{ChildProposal, IkeProposal, MAX_ADDITIONAL};
use crate::event::{Offer, Offered};
use crate::wire::iana::{EsnId, ProtocolId, TransformType};
use crate::wire::{NoRoom, Proposal, ProposalWriter, SaPayload, SaWriter, Transform};

const NO_SUITE: Suite = Suite { encr: Encr(0), key_bits: 0, integ: Integ::NONE };

/// The algorithms of an IKE SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IkeChoice {
    /// Protection of messages.
    pub(crate) suite: Suite,
    /// Pseudo-random function.
    pub(crate) prf: PrfId,
    /// Key exchange.
    pub(crate) group: Group,
    /// Key exchanges after it.
    pub(crate) additional: Additional,
    /// Which transforms of value NONE were offered and chosen: an answer repeats them.
    pub(crate) nones: Nones,
}

impl IkeChoice {
    /// Nothing chosen: what an empty slot holds.
    pub(crate) const EMPTY: Self = Self {
        suite: NO_SUITE,
        prf: PrfId(0),
        group: Group::NONE,
        additional: Additional::NONE,
        nones: Nones::ABSENT,
    };
}

/// The algorithms of a child SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChildChoice {
    /// Protection of packets.
    pub(crate) suite: Suite,
    /// Extended sequence numbers.
    pub(crate) esn: bool,
    /// Key exchange of its own, [`Group::NONE`] without.
    pub(crate) group: Group,
    /// Key exchanges after it.
    pub(crate) additional: Additional,
    /// Which transforms of value NONE were offered and chosen: an answer repeats them.
    pub(crate) nones: Nones,
}

impl ChildChoice {
    /// Nothing chosen: what an empty slot holds.
    pub(crate) const EMPTY: Self = Self {
        suite: NO_SUITE,
        esn: false,
        group: Group::NONE,
        additional: Additional::NONE,
        nones: Nones::ABSENT,
    };

    /// ESP or AH.
    pub(crate) const fn protocol(&self) -> ProtocolId {
        if self.suite.is_ah() { ProtocolId::AH } else { ProtocolId::ESP }
    }
}

/// Transforms of value NONE. RFC 7296 section 2.7: an answer has exactly one transform of each type that was offered,
/// so one of value NONE is not left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nones {
    integ: bool,
    group: bool,
    /// A bit for each additional key exchange.
    additional: u8,
}

impl Nones {
    /// None was offered.
    pub(crate) const ABSENT: Self = Self { integ: false, group: false, additional: 0 };
}

/// Key exchanges after the first one, each at the place of its transform type (RFC 9370 section 2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Additional(pub(crate) [Group; MAX_ADDITIONAL]);

impl Additional {
    /// There are none: what an empty slot holds.
    pub(crate) const NONE: Self = Self([Group::NONE; MAX_ADDITIONAL]);

    /// That of a round, counted from zero.
    pub(crate) fn nth(&self, round: u8) -> Option<Group> {
        self.0.iter().copied().filter(|group| *group != Group::NONE).nth(round.into())
    }

    /// Whether there are none.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

/// What the provider can do: nothing else is ever offered or chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Implemented<'a> {
    /// Packet protection.
    pub(crate) suites: &'a [Suite],
    /// Integrity of AH.
    pub(crate) integs: &'a [Integ],
    /// Pseudo-random functions.
    pub(crate) prfs: &'a [PrfId],
    /// Key exchanges.
    pub(crate) groups: &'a [Group],
    /// One key exchange after another.
    pub(crate) hybrid: bool,
}

impl Implemented<'static> {
    /// All that `P` can do.
    #[inline(never)]
    pub(crate) const fn of<P: Provider>() -> Self {
        Self {
            suites: P::SUITES,
            integs: P::INTEGS,
            prfs: P::PRFS,
            groups: P::GROUPS,
            hybrid: P::HYBRID,
        }
    }
}

impl Implemented<'_> {
    /// What of it gets through: AH covers the addresses that a NAT changes, and does not travel in UDP.
    pub(crate) const fn through(self, encapsulated: bool) -> Self {
        if encapsulated { Self { integs: &[], ..self } } else { self }
    }

    /// What of it suits a peer that knows IKE_INTERMEDIATE, or does not.
    pub(crate) const fn with_intermediate(self, known: bool) -> Self {
        Self { hybrid: self.hybrid && known, ..self }
    }

    fn has_ike_suite(&self, suite: Suite) -> bool {
        protects_ike(suite) && self.suites.contains(&suite)
    }

    pub(crate) fn has_child_suite(&self, suite: Suite) -> bool {
        if suite.is_ah() {
            return self.integs.contains(&suite.integ);
        }
        suite.shape().is_some() && self.suites.contains(&suite)
    }

    pub(crate) fn has_prf(&self, prf: PrfId) -> bool {
        self.prfs.contains(&prf)
    }

    pub(crate) fn has_group(&self, group: Group) -> bool {
        group != Group::NONE && self.groups.contains(&group)
    }

    /// Whether a group can be used after others. RFC 9370 section 2.2.1: no method is used twice.
    fn has_additional(&self, group: Group, first: Group, chosen: &Additional) -> bool {
        self.hybrid && self.has_group(group) && group != first && !chosen.0.contains(&group)
    }

    /// Whether one of each list can be used, or none has to.
    fn has_one_of_each(&self, lists: &[&[Group]]) -> bool {
        let usable =
            |group: &Group| *group == Group::NONE || self.hybrid && self.groups.contains(group);
        lists.len() <= MAX_ADDITIONAL && lists.iter().all(|list| list.iter().any(usable))
    }
}

/// The group of the first key exchange: the first that [`offer_ike`] offers. `None` if nothing can be offered.
pub(crate) fn first_ike_group(
    proposals: &[IkeProposal<'_>],
    implemented: &Implemented<'_>,
) -> Option<Group> {
    proposals
        .iter()
        .filter(|ours| can_offer_ike(ours, implemented))
        .find_map(|ours| ours.groups.iter().copied().find(|group| implemented.has_group(*group)))
}

/// The group of a child's own key exchange: the first that [`offer_child`] offers first. `None`: no key exchange.
pub(crate) fn first_child_group(
    proposals: &[ChildProposal<'_>],
    implemented: &Implemented<'_>,
) -> Option<Group> {
    let ours = proposals.iter().find(|ours| can_offer_child(ours, implemented, true))?;
    ours.groups.iter().copied().find(|group| implemented.has_group(*group))
}

/// Whether anything can be offered for a child.
pub(crate) fn can_offer_any(
    proposals: &[ChildProposal<'_>],
    implemented: &Implemented<'_>,
) -> bool {
    proposals.iter().any(|ours| can_offer_child(ours, implemented, true))
}

/// Whether an IKE SA may use this group.
pub(crate) fn allows_ike_group(
    proposals: &[IkeProposal<'_>],
    implemented: &Implemented<'_>,
    group: Group,
) -> bool {
    implemented.has_group(group)
        && proposals
            .iter()
            .any(|ours| can_offer_ike(ours, implemented) && ours.groups.contains(&group))
}

/// Whether a child SA may use this group.
pub(crate) fn allows_child_group(
    proposals: &[ChildProposal<'_>],
    implemented: &Implemented<'_>,
    group: Group,
) -> bool {
    implemented.has_group(group)
        && proposals
            .iter()
            .any(|ours| can_offer_child(ours, implemented, true) && ours.groups.contains(&group))
}

/// Whether an IKE SA may use these algorithms: asked again when the peer's identity, and so its policy, is known.
pub(crate) fn allows_ike(proposals: &[IkeProposal<'_>], choice: &IkeChoice) -> bool {
    proposals.iter().any(|ours| {
        ours.suites.contains(&choice.suite)
            && ours.prfs.contains(&choice.prf)
            && ours.groups.contains(&choice.group)
            && allows_additional(ours.additional, &choice.additional)
    })
}

fn allows_additional(ours: &[&[Group]], choice: &Additional) -> bool {
    let mut lists = ours.iter();
    choice.0.iter().all(|group| match lists.next() {
        Some(list) => list.contains(group),
        None => *group == Group::NONE,
    })
}

/// Whether key exchanges after the first one are offered.
pub(crate) fn offers_additional(
    proposals: &[IkeProposal<'_>],
    implemented: &Implemented<'_>,
) -> bool {
    let offers = |ours: &IkeProposal<'_>| !ours.additional.is_empty();
    implemented.hybrid
        && proposals.iter().any(|ours| offers(ours) && can_offer_ike(ours, implemented))
}

/// Writes what we offer for an IKE SA. `spi` is empty in IKE_SA_INIT, and our new SPI in a rekey.
///
/// Writes nothing at all where [`first_ike_group`] is `None`.
pub(crate) fn offer_ike(
    w: &mut SaWriter<'_, '_>,
    proposals: &[IkeProposal<'_>],
    implemented: &Implemented<'_>,
    spi: &[u8],
) -> Result<(), NoRoom> {
    let mut number = 0u8;
    for ours in proposals.iter().filter(|ours| can_offer_ike(ours, implemented)) {
        let usable = |suite: Suite| implemented.has_ike_suite(suite);
        let each = integs(ours.suites, usable);
        for (integ, additional) in each.flat_map(|integ| {
            variants(ours.additional, implemented).map(move |additional| (integ, additional))
        }) {
            number = number.checked_add(1).ok_or(NoRoom)?;
            let mut w = w.proposal(number, ProtocolId::IKE, spi)?;
            write_suites(&mut w, ours.suites, integ, usable)?;
            for prf in ours.prfs.iter().filter(|prf| implemented.has_prf(**prf)) {
                w.transform(TransformType::PRF, prf.0, None)?;
            }
            write_groups(&mut w, ours.groups, implemented)?;
            write_additional(&mut w, additional, implemented)?;
        }
    }
    Ok(())
}

/// Writes what we offer for a child SA that receives on `spi`, the four bytes of it.
///
/// `with_group` is false in IKE_AUTH, where a child has no key exchange of its own (RFC 7296 section 1.2).
pub(crate) fn offer_child(
    w: &mut SaWriter<'_, '_>,
    proposals: &[ChildProposal<'_>],
    implemented: &Implemented<'_>,
    spi: &[u8],
    with_group: bool,
) -> Result<(), NoRoom> {
    let mut number = 0u8;
    for ours in proposals.iter().filter(|ours| can_offer_child(ours, implemented, with_group)) {
        let usable = |suite: Suite| implemented.has_child_suite(suite);
        let each = integs(ours.suites, usable);
        let lists = if with_group { additional_of(ours) } else { &[] };
        for ((ah, integ), additional) in each.flat_map(|integ| {
            variants(lists, implemented).map(move |additional| (integ, additional))
        }) {
            number = number.checked_add(1).ok_or(NoRoom)?;
            let protocol = if ah { ProtocolId::AH } else { ProtocolId::ESP };
            let mut w = w.proposal(number, protocol, spi)?;
            write_suites(&mut w, ours.suites, (ah, integ), usable)?;
            if with_group {
                write_groups(&mut w, ours.groups, implemented)?;
                write_additional(&mut w, additional, implemented)?;
            }
            w.transform(TransformType::ESN, esn_id(ours.esn).0, None)?;
        }
    }
    Ok(())
}

/// Chooses from an offer for an IKE SA, by our order of preference: the number of the proposal, what is chosen from it,
/// and the peer's SPI as it stands there.
///
/// `prefer_group` is the group of a key exchange that came with the offer; if it is allowed it is chosen, which saves
/// INVALID_KE_PAYLOAD and another round.
pub(crate) fn choose_ike<'a>(
    offer: &SaPayload<'a>,
    proposals: &[IkeProposal<'_>],
    implemented: &Implemented<'_>,
    prefer_group: Option<Group>,
) -> Option<(u8, IkeChoice, &'a [u8])> {
    proposals.iter().find_map(|ours| {
        let suites = ours.suites.iter().filter(|suite| implemented.has_ike_suite(**suite));
        suites.copied().find_map(|suite| {
            offer.proposals().find_map(|theirs| {
                let choice = match_ike(&theirs, ours, suite, implemented, prefer_group)?;
                Some((theirs.number, choice, theirs.spi))
            })
        })
    })
}

/// Chooses from an offer for a child SA, as [`choose_ike`] does. The peer's SPI is four bytes and not reserved.
///
/// With `with_group`, groups in our proposal mean that one of them must be chosen, and no groups that none may be.
/// Without, as in IKE_AUTH, groups of either side are ignored (RFC 7296 section 1.2).
pub(crate) fn choose_child<'a>(
    offer: &SaPayload<'a>,
    proposals: &[ChildProposal<'_>],
    implemented: &Implemented<'_>,
    prefer_group: Option<Group>,
    with_group: bool,
) -> Option<(u8, ChildChoice, &'a [u8])> {
    let prefer_group = with_group.then_some(prefer_group);
    proposals.iter().find_map(|ours| {
        let suites = ours.suites.iter().filter(|suite| implemented.has_child_suite(**suite));
        suites.copied().find_map(|suite| {
            offer.proposals().find_map(|theirs| {
                let choice = match_child(&theirs, ours, suite, implemented, prefer_group)?;
                Some((theirs.number, choice, theirs.spi))
            })
        })
    })
}

/// What a responder chose from our offer for an IKE SA; `None` if that is not one of each that we offered together
/// (RFC 7296 section 2.7). The number of the proposal tells nothing more and is not looked at.
pub(crate) fn accept_ike(
    answer: &SaPayload<'_>,
    proposals: &[IkeProposal<'_>],
    implemented: &Implemented<'_>,
) -> Option<IkeChoice> {
    let theirs = answer.single()?;
    has_only(&theirs, ProtocolId::IKE, IKE_TRANSFORMS).then_some(())?;
    let (suite, integ) = single_suite(&theirs)?;
    let prf = PrfId(single(&theirs, TransformType::PRF)??.id);
    let group = Group(single(&theirs, TransformType::KE)??.id);
    let mut offered = proposals.iter().filter(|ours| {
        ours.suites.contains(&suite) && ours.prfs.contains(&prf) && ours.groups.contains(&group)
    });
    let (additional, nones) =
        offered.find_map(|ours| accept_additional(&theirs, ours.additional, implemented, group))?;
    let can = implemented.has_ike_suite(suite)
        && implemented.has_prf(prf)
        && implemented.has_group(group);
    let nones = Nones { integ, group: false, additional: nones };
    can.then_some(IkeChoice { suite, prf, group, additional, nones })
}

/// What a responder chose from our offer for a child SA, as [`accept_ike`] tells it. The peer's SPI is that of the
/// answer's only proposal; it is not reserved.
pub(crate) fn accept_child(
    answer: &SaPayload<'_>,
    proposals: &[ChildProposal<'_>],
    implemented: &Implemented<'_>,
    with_group: bool,
) -> Option<ChildChoice> {
    let theirs = answer.single()?;
    is_of_child(&theirs).then_some(())?;
    theirs.spi_u32().and_then(Spi::new)?;
    let (suite, integ) = single_suite(&theirs)?;
    let esn = match EsnId(single(&theirs, TransformType::ESN)??.id) {
        EsnId::NO_ESN => false,
        EsnId::ESN => true,
        _ => return None,
    };
    let ke = single(&theirs, TransformType::KE)?;
    let group = ke.map_or(Group::NONE, |ke| Group(ke.id));
    let group_offered = |ours: &ChildProposal<'_>| {
        if with_group && !ours.groups.is_empty() {
            ours.groups.contains(&group) && implemented.has_group(group)
        } else {
            group == Group::NONE
        }
    };
    let mut offered = proposals
        .iter()
        .filter(|ours| ours.suites.contains(&suite) && ours.esn == esn && group_offered(ours));
    let (additional, more) = offered.find_map(|ours| {
        let lists = if with_group { additional_of(ours) } else { &[] };
        accept_additional(&theirs, lists, implemented, group)
    })?;
    let nones = Nones { integ, group: ke.is_some() && group == Group::NONE, additional: more };
    let choice = ChildChoice { suite, esn, group, additional, nones };
    implemented.has_child_suite(suite).then_some(choice)
}

/// Writes the answer to the proposal `number` of an offer, from which `choice` was chosen.
pub(crate) fn answer_ike(
    w: &mut SaWriter<'_, '_>,
    number: u8,
    choice: &IkeChoice,
    spi: &[u8],
) -> Result<(), NoRoom> {
    let mut w = w.proposal(number, ProtocolId::IKE, spi)?;
    write_suite(&mut w, choice.suite, choice.nones)?;
    w.transform(TransformType::PRF, choice.prf.0, None)?;
    w.transform(TransformType::KE, choice.group.0, None)?;
    answer_additional(&mut w, &choice.additional, choice.nones)
}

/// Writes the answer to the proposal `number` of an offer, from which `choice` was chosen. We receive on `spi`, its four bytes.
pub(crate) fn answer_child(
    w: &mut SaWriter<'_, '_>,
    number: u8,
    choice: &ChildChoice,
    spi: &[u8],
) -> Result<(), NoRoom> {
    let mut w = w.proposal(number, choice.protocol(), spi)?;
    write_suite(&mut w, choice.suite, choice.nones)?;
    if choice.group != Group::NONE || choice.nones.group {
        w.transform(TransformType::KE, choice.group.0, None)?;
    }
    answer_additional(&mut w, &choice.additional, choice.nones)?;
    w.transform(TransformType::ESN, esn_id(choice.esn).0, None)
}

/// All transforms of an offer, each once, until the list is full: to explain a refusal.
pub(crate) fn offer_of(offer: &SaPayload<'_>) -> Offer {
    let mut all = Offer::new();
    for t in offer.proposals().flat_map(|proposal| proposal.transforms()) {
        let offered = Offered { kind: t.kind, id: t.id, key_bits: t.key_bits.unwrap_or(0) };
        if !all.contains(&offered) && all.push(offered).is_err() {
            break;
        }
    }
    all
}

const IKE_TRANSFORMS: &[TransformType] =
    &[TransformType::ENCR, TransformType::PRF, TransformType::INTEG, TransformType::KE];
const ESP_TRANSFORMS: &[TransformType] =
    &[TransformType::ENCR, TransformType::INTEG, TransformType::KE, TransformType::ESN];
const AH_TRANSFORMS: &[TransformType] =
    &[TransformType::INTEG, TransformType::KE, TransformType::ESN];
/// Of every protocol.
const ADDITIONAL: [TransformType; 7] = [
    TransformType::ADDKE1,
    TransformType::ADDKE2,
    TransformType::ADDKE3,
    TransformType::ADDKE4,
    TransformType::ADDKE5,
    TransformType::ADDKE6,
    TransformType::ADDKE7,
];

/// IKE messages are always encrypted, and their IV is always sent: ciphers without encryption or with an implicit IV
/// are registered for ESP only.
fn protects_ike(suite: Suite) -> bool {
    suite.encr != Encr::NULL_AES_GMAC
        && suite.shape().is_some_and(|s| matches!(s.iv, Iv::Counter | Iv::Unpredictable))
}

fn can_offer_ike(ours: &IkeProposal<'_>, implemented: &Implemented<'_>) -> bool {
    ours.suites.iter().any(|suite| implemented.has_ike_suite(*suite))
        && ours.prfs.iter().any(|prf| implemented.has_prf(*prf))
        && ours.groups.iter().any(|group| implemented.has_group(*group))
        && implemented.has_one_of_each(ours.additional)
}

/// Without a first key exchange, a child has no others.
const fn additional_of<'r>(ours: &ChildProposal<'r>) -> &'r [&'r [Group]] {
    if ours.groups.is_empty() { &[] } else { ours.additional }
}

/// The lists as they are, and, for peers that do not know of them, an offer without any if none is required (RFC 9370
/// section 2.2.1).
fn variants<'r>(
    lists: &'r [&'r [Group]],
    implemented: &Implemented<'_>,
) -> impl Iterator<Item = &'r [&'r [Group]]> + 'r {
    let with = implemented.hybrid && !lists.is_empty();
    let without = lists.iter().all(|list| list.contains(&Group::NONE));
    let none: &[&[Group]] = &[];
    with.then_some(lists).into_iter().chain(without.then_some(none))
}

/// Where perfect forward secrecy is asked for, it is not left away because the provider lacks the groups.
fn can_offer_child(
    ours: &ChildProposal<'_>,
    implemented: &Implemented<'_>,
    with_group: bool,
) -> bool {
    let group = !with_group
        || ours.groups.is_empty()
        || ours.groups.iter().any(|group| implemented.has_group(*group));
    let group = group && (!with_group || implemented.has_one_of_each(additional_of(ours)));
    group && ours.suites.iter().any(|suite| implemented.has_child_suite(*suite))
}

/// The distinct integrity algorithms of the usable suites, and whether they are of AH, in the order in which they first
/// appear.
fn integs<'s>(
    suites: &'s [Suite],
    usable: impl Fn(Suite) -> bool + Copy + 's,
) -> impl Iterator<Item = (bool, Integ)> + 's {
    suites.iter().enumerate().filter_map(move |(i, suite)| {
        let mut earlier = suites.iter().take(i).filter(move |s| usable(**s));
        let first = usable(*suite)
            && !earlier.any(|s| s.integ == suite.integ && s.is_ah() == suite.is_ah());
        first.then_some((suite.is_ah(), suite.integ))
    })
}

/// The usable suites that have `integ` in common.
fn write_suites(
    w: &mut ProposalWriter<'_, '_>,
    suites: &[Suite],
    (ah, integ): (bool, Integ),
    usable: impl Fn(Suite) -> bool,
) -> Result<(), NoRoom> {
    let fits = |suite: &Suite| !ah && !suite.is_ah() && suite.integ == integ && usable(*suite);
    for suite in suites.iter().filter(|suite| fits(suite)) {
        w.transform(TransformType::ENCR, suite.encr.0, key_bits(*suite))?;
    }
    if integ != Integ::NONE {
        w.transform(TransformType::INTEG, integ.0, None)?;
    }
    Ok(())
}

fn write_suite(w: &mut ProposalWriter<'_, '_>, suite: Suite, nones: Nones) -> Result<(), NoRoom> {
    if !suite.is_ah() {
        w.transform(TransformType::ENCR, suite.encr.0, key_bits(suite))?;
    }
    if suite.integ != Integ::NONE || nones.integ {
        w.transform(TransformType::INTEG, suite.integ.0, None)?;
    }
    Ok(())
}

fn write_groups(
    w: &mut ProposalWriter<'_, '_>,
    groups: &[Group],
    implemented: &Implemented<'_>,
) -> Result<(), NoRoom> {
    for group in groups.iter().filter(|group| implemented.has_group(**group)) {
        w.transform(TransformType::KE, group.0, None)?;
    }
    Ok(())
}

fn write_additional(
    w: &mut ProposalWriter<'_, '_>,
    lists: &[&[Group]],
    implemented: &Implemented<'_>,
) -> Result<(), NoRoom> {
    for (kind, list) in ADDITIONAL.iter().zip(lists) {
        let usable = |group: &&Group| **group == Group::NONE || implemented.has_group(**group);
        for group in list.iter().filter(usable) {
            w.transform(*kind, group.0, None)?;
        }
    }
    Ok(())
}

fn answer_additional(
    w: &mut ProposalWriter<'_, '_>,
    choice: &Additional,
    nones: Nones,
) -> Result<(), NoRoom> {
    let mut groups = choice.0.iter();
    for (bit, kind) in BITS.into_iter().zip(ADDITIONAL) {
        let group = groups.next().copied().unwrap_or(Group::NONE);
        if group != Group::NONE || nones.additional & bit != 0 {
            w.transform(kind, group.0, None)?;
        }
    }
    Ok(())
}

/// One for each additional key exchange.
const BITS: [u8; 7] = [1, 2, 4, 8, 16, 32, 64];

/// What we choose of each type of additional key exchange, and which of value NONE were offered.
fn match_additional(
    theirs: &Proposal<'_>,
    lists: &[&[Group]],
    implemented: &Implemented<'_>,
    first: Group,
) -> Option<(Additional, u8)> {
    let (mut chosen, mut nones) = (Additional::NONE, 0);
    let mut lists = lists.iter();
    let mut places = 0..;
    for (bit, kind) in BITS.into_iter().zip(ADDITIONAL) {
        let place: usize = places.next()?;
        let listed = !lists_none_of(theirs, kind);
        let may_be_none = !listed || offers(theirs, kind, Group::NONE.0, None);
        let fits = |group: &Group| match *group {
            Group::NONE => may_be_none,
            group => {
                implemented.has_additional(group, first, &chosen)
                    && offers(theirs, kind, group.0, None)
            }
        };
        let group = match lists.next() {
            Some(list) => list.iter().copied().find(fits)?,
            None => may_be_none.then_some(Group::NONE)?,
        };
        if group != Group::NONE {
            *chosen.0.get_mut(place)? = group;
        } else if listed {
            nones |= bit;
        }
    }
    Some((chosen, nones))
}

/// What a responder chose of each type of additional key exchange, if it is of what we offered.
fn accept_additional(
    theirs: &Proposal<'_>,
    lists: &[&[Group]],
    implemented: &Implemented<'_>,
    first: Group,
) -> Option<(Additional, u8)> {
    let (mut chosen, mut nones) = (Additional::NONE, 0);
    let mut lists = lists.iter();
    let mut places = 0..;
    for (bit, kind) in BITS.into_iter().zip(ADDITIONAL) {
        let place: usize = places.next()?;
        let answered = single(theirs, kind)?;
        let group = answered.map_or(Group::NONE, |t| Group(t.id));
        let offered = match lists.next() {
            Some(list) => list.contains(&group),
            None => answered.is_none(),
        };
        let can = group == Group::NONE || implemented.has_additional(group, first, &chosen);
        (offered && can).then_some(())?;
        if group != Group::NONE {
            *chosen.0.get_mut(place)? = group;
        } else if answered.is_some() {
            nones |= bit;
        }
    }
    Some((chosen, nones))
}

/// What an attribute says of the key; algorithms with keys of one size have none (RFC 7296 section 3.3.5).
const fn key_bits(suite: Suite) -> Option<u16> {
    if suite.key_bits == 0 { None } else { Some(suite.key_bits) }
}

const fn esn_id(esn: bool) -> EsnId {
    if esn { EsnId::ESN } else { EsnId::NO_ESN }
}

fn match_ike(
    theirs: &Proposal<'_>,
    ours: &IkeProposal<'_>,
    suite: Suite,
    implemented: &Implemented<'_>,
    prefer_group: Option<Group>,
) -> Option<IkeChoice> {
    has_only(theirs, ProtocolId::IKE, IKE_TRANSFORMS).then_some(())?;
    let integ = match_suite(theirs, suite)?;
    let prf =
        ours.prfs.iter().copied().find(|prf| {
            implemented.has_prf(*prf) && offers(theirs, TransformType::PRF, prf.0, None)
        })?;
    let group = match_group(theirs, ours.groups, implemented, prefer_group)?;
    let (additional, nones) = match_additional(theirs, ours.additional, implemented, group)?;
    let nones = Nones { integ, group: false, additional: nones };
    Some(IkeChoice { suite, prf, group, additional, nones })
}

/// `prefer_group` is `None` where groups are ignored.
fn match_child(
    theirs: &Proposal<'_>,
    ours: &ChildProposal<'_>,
    suite: Suite,
    implemented: &Implemented<'_>,
    prefer_group: Option<Option<Group>>,
) -> Option<ChildChoice> {
    is_of_child(theirs).then_some(())?;
    (suite.is_ah() == (theirs.protocol == ProtocolId::AH)).then_some(())?;
    theirs.spi_u32().and_then(Spi::new)?;
    let integ = match_suite(theirs, suite)?;
    offers(theirs, TransformType::ESN, esn_id(ours.esn).0, None).then_some(())?;
    let group = match prefer_group {
        Some(prefer_group) if !ours.groups.is_empty() => {
            match_group(theirs, ours.groups, implemented, prefer_group)?
        }
        _ => Group::NONE,
    };
    let none_offered = offers(theirs, TransformType::KE, Group::NONE.0, None);
    if prefer_group.is_some() && group == Group::NONE && !none_offered {
        lists_none_of(theirs, TransformType::KE).then_some(())?;
    }
    let (additional, more) = if prefer_group.is_some() {
        match_additional(theirs, additional_of(ours), implemented, group)?
    } else {
        (Additional::NONE, 0)
    };
    let nones = Nones { integ, group: group == Group::NONE && none_offered, additional: more };
    Some(ChildChoice { suite, esn: ours.esn, group, additional, nones })
}

/// Whether `theirs` offers the suite, and if so, whether it offers NONE as its integrity algorithm by a transform.
fn match_suite(theirs: &Proposal<'_>, suite: Suite) -> Option<bool> {
    let integ_offered = offers(theirs, TransformType::INTEG, suite.integ.0, None);
    let integ_fits =
        integ_offered || suite.integ == Integ::NONE && lists_none_of(theirs, TransformType::INTEG);
    let encr = (TransformType::ENCR, suite.encr.0, key_bits(suite));
    let fits = integ_fits && (suite.is_ah() || offers(theirs, encr.0, encr.1, encr.2));
    fits.then_some(integ_offered && suite.integ == Integ::NONE)
}

fn match_group(
    theirs: &Proposal<'_>,
    ours: &[Group],
    implemented: &Implemented<'_>,
    prefer: Option<Group>,
) -> Option<Group> {
    let fits = |group: &Group| {
        implemented.has_group(*group) && offers(theirs, TransformType::KE, group.0, None)
    };
    let preferred = prefer.filter(|group| ours.contains(group) && fits(group));
    preferred.or_else(|| ours.iter().copied().find(fits))
}

/// RFC 7296 section 3.3.6: a transform with an attribute that is not understood must not be chosen; others of its type
/// may be.
fn offers(theirs: &Proposal<'_>, kind: TransformType, id: u16, key_bits: Option<u16>) -> bool {
    theirs.transforms().any(|t| t == Transform { kind, id, key_bits, understood: true })
}

fn lists_none_of(theirs: &Proposal<'_>, kind: TransformType) -> bool {
    theirs.transforms().all(|t| t.kind != kind)
}

/// RFC 7296 section 3.3.6: a proposal with a transform type that is not understood must not be chosen.
fn has_only(theirs: &Proposal<'_>, protocol: ProtocolId, kinds: &[TransformType]) -> bool {
    let known = |kind: TransformType| kinds.contains(&kind) || ADDITIONAL.contains(&kind);
    theirs.protocol == protocol && theirs.transforms().all(|t| known(t.kind))
}

/// Whether a proposal is of ESP or AH and has only what these have. AH has no encryption (RFC 7296 section 3.3.3).
fn is_of_child(theirs: &Proposal<'_>) -> bool {
    has_only(theirs, ProtocolId::ESP, ESP_TRANSFORMS)
        || has_only(theirs, ProtocolId::AH, AH_TRANSFORMS)
}

/// The only transform of a type, `Some(None)` if there is none, `None` if there are several or it is not understood.
fn single(theirs: &Proposal<'_>, kind: TransformType) -> Option<Option<Transform>> {
    let mut of_kind = theirs.transforms().filter(|t| t.kind == kind);
    let first = of_kind.next();
    let sound = of_kind.next().is_none()
        && first
            .is_none_or(|t| t.understood && (kind == TransformType::ENCR || t.key_bits.is_none()));
    sound.then_some(first)
}

/// The only suite of a proposal, and whether an integrity algorithm NONE stands there.
fn single_suite(theirs: &Proposal<'_>) -> Option<(Suite, bool)> {
    if theirs.protocol == ProtocolId::AH {
        let integ = Integ(single(theirs, TransformType::INTEG)??.id);
        return (integ != Integ::NONE).then_some((Suite::ah(integ), false));
    }
    let encr = single(theirs, TransformType::ENCR)??;
    let integ = single(theirs, TransformType::INTEG)?;
    let suite = Suite {
        encr: Encr(encr.id),
        key_bits: encr.key_bits.unwrap_or(0),
        integ: integ.map_or(Integ::NONE, |t| Integ(t.id)),
    };
    let none = integ.is_some() && suite.integ == Integ::NONE;
    (key_bits(suite) == encr.key_bits).then_some((suite, none))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::iana::{ExchangeType, Flags};
    use crate::wire::{Header, Message, MessageWriter};

    extern crate std;
    use std::vec::Vec;

    const ALL: Implemented<'_> = Implemented {
        suites: &SUITES,
        integs: &[Integ::HMAC_SHA2_256_128, Integ::HMAC_SHA1_96],
        prfs: &PRFS,
        groups: &[
            Group::X25519,
            Group::P256,
            Group::MODP_2048,
            Group::MODP_1024,
            Group::ML_KEM_768,
            Group::ML_KEM_1024,
        ],
        hybrid: true,
    };
    const GCM: Suite = Suite::AES_128_GCM;
    const CBC: Suite = Suite::AES_128_CBC_SHA256;
    const CBC_SHA1: Suite =
        Suite { encr: Encr::AES_CBC, key_bits: 128, integ: Integ::HMAC_SHA1_96 };
    const DES3_SHA1: Suite = Suite { encr: Encr::DES3, key_bits: 0, integ: Integ::HMAC_SHA1_96 };
    const NULL: Suite = Suite { encr: Encr::NULL, key_bits: 0, integ: Integ::HMAC_SHA1_96 };
    const SUITES: [Suite; 9] = [
        GCM,
        Suite::AES_256_GCM,
        Suite::CHACHA20_POLY1305,
        CBC,
        Suite::AES_256_CBC_SHA256,
        CBC_SHA1,
        DES3_SHA1,
        NULL,
        Suite::aead(Encr::AES_GCM_16_IIV, 128),
    ];
    const PRFS: [PrfId; 3] = [PrfId::HMAC_SHA2_256, PrfId::HMAC_SHA2_512, PrfId::HMAC_SHA1];
    const SPI: [u8; 4] = [1, 2, 3, 4];

    /// The body of the SA payload that `write` writes.
    fn body(write: impl FnOnce(&mut SaWriter<'_, '_>) -> Result<(), NoRoom>) -> Vec<u8> {
        let mut buf = [0; 2000];
        let header = Header::new(1, 0, ExchangeType::IKE_SA_INIT, Flags::INITIATOR, 0);
        let mut w = MessageWriter::new(&mut buf, &header).unwrap();
        w.sa(write).unwrap();
        let len = w.finish().unwrap();
        Message::parse(&buf[..len]).unwrap().payloads().next().unwrap().unwrap().body.to_vec()
    }

    type Raw = (u8, u16, Option<u16>);

    const E_GCM: Raw = (1, 20, Some(128));
    const E_CBC: Raw = (1, 12, Some(128));
    const P_256: Raw = (2, 5, None);
    const I_256: Raw = (3, 12, None);
    const I_NONE: Raw = (3, 0, None);
    const K_X25519: Raw = (4, 31, None);
    const K_P256: Raw = (4, 19, None);
    const K_NONE: Raw = (4, 0, None);
    const NO_ESN: Raw = (5, 0, None);
    const ESN: Raw = (5, 1, None);

    fn raw(protocol: ProtocolId, spi: &[u8], proposals: &[&[Raw]]) -> Vec<u8> {
        body(|w| {
            for (i, transforms) in proposals.iter().enumerate() {
                let mut p = w.proposal(u8::try_from(i + 1).unwrap(), protocol, spi)?;
                for (kind, id, key_bits) in *transforms {
                    p.transform(TransformType(*kind), *id, *key_bits)?;
                }
            }
            Ok(())
        })
    }

    fn shown(body: &[u8]) -> Vec<Vec<Raw>> {
        let of = |p: Proposal<'_>| p.transforms().map(|t| (t.kind.0, t.id, t.key_bits)).collect();
        SaPayload::parse(body).unwrap().proposals().map(of).collect()
    }

    fn ike<'a>(suites: &'a [Suite]) -> IkeProposal<'a> {
        IkeProposal {
            suites,
            prfs: &[PrfId::HMAC_SHA2_256],
            groups: &[Group::X25519, Group::P256],
            additional: &[],
        }
    }

    fn child<'a>(suites: &'a [Suite], groups: &'a [Group]) -> ChildProposal<'a> {
        ChildProposal { suites, groups, esn: false, additional: &[] }
    }

    fn choose(
        offer: &[&[Raw]],
        ours: &[IkeProposal<'_>],
        prefer: Option<Group>,
    ) -> Option<(u8, IkeChoice)> {
        let body = raw(ProtocolId::IKE, &[], offer);
        choose_ike(&SaPayload::parse(&body).unwrap(), ours, &ALL, prefer)
            .map(|(number, choice, _)| (number, choice))
    }

    fn choose_esp(
        offer: &[&[Raw]],
        ours: &[ChildProposal<'_>],
        with_group: bool,
    ) -> Option<(u8, ChildChoice)> {
        let body = raw(ProtocolId::ESP, &SPI, offer);
        choose_child(&SaPayload::parse(&body).unwrap(), ours, &ALL, None, with_group).map(
            |(number, choice, spi)| {
                assert_eq!(spi, SPI);
                (number, choice)
            },
        )
    }

    fn accept(answer: &[&[Raw]], ours: &[IkeProposal<'_>]) -> Option<IkeChoice> {
        accept_ike(&SaPayload::parse(&raw(ProtocolId::IKE, &[], answer)).unwrap(), ours, &ALL)
    }

    fn accept_esp(
        answer: &[&[Raw]],
        ours: &[ChildProposal<'_>],
        with_group: bool,
    ) -> Option<ChildChoice> {
        let body = raw(ProtocolId::ESP, &SPI, answer);
        accept_child(&SaPayload::parse(&body).unwrap(), ours, &ALL, with_group)
    }

    /// RFC 5282 section 8: AEADs stand in proposals of their own, without an integrity transform.
    #[test]
    fn suites_are_grouped_by_their_integrity_algorithm() {
        let ours =
            [ike(&[CBC, GCM, CBC_SHA1, Suite::AES_256_CBC_SHA256, Suite::CHACHA20_POLY1305])];
        let offered = shown(&body(|w| offer_ike(w, &ours, &ALL, &[])));
        let expected: [&[Raw]; 3] = [
            &[E_CBC, (1, 12, Some(256)), I_256, P_256, K_X25519, K_P256],
            &[E_GCM, (1, 28, None), P_256, K_X25519, K_P256],
            &[E_CBC, (3, 2, None), P_256, K_X25519, K_P256],
        ];
        assert_eq!(offered, expected);
    }

    #[test]
    fn offers_for_children() {
        let ours = [
            child(&[GCM, CBC], &[Group::X25519]),
            ChildProposal { esn: true, ..child(&[GCM], &[]) },
        ];
        let with = |with_group| shown(&body(|w| offer_child(w, &ours, &ALL, &SPI, with_group)));
        let expected: [&[Raw]; 3] =
            [&[E_GCM, K_X25519, NO_ESN], &[E_CBC, I_256, K_X25519, NO_ESN], &[E_GCM, ESN]];
        assert_eq!(with(true), expected);
        // RFC 7296 section 1.2: no key exchange in IKE_AUTH.
        let expected: [&[Raw]; 3] = [&[E_GCM, NO_ESN], &[E_CBC, I_256, NO_ESN], &[E_GCM, ESN]];
        assert_eq!(with(false), expected);
        assert_eq!(first_child_group(&ours, &ALL), Some(Group::X25519));
        assert_eq!(first_child_group(&ours[1..], &ALL), None);
    }

    #[test]
    fn nothing_is_offered_that_is_not_implemented() {
        let few = Implemented {
            suites: &[GCM],
            integs: &[],
            prfs: &[PrfId::HMAC_SHA2_256],
            groups: &[Group::P256],
            hybrid: false,
        };
        let ours = [
            IkeProposal { prfs: &[PrfId::HMAC_SHA1], ..ike(&[GCM]) },
            ike(&[CBC]),
            ike(&[CBC, GCM]),
        ];
        let offered = shown(&body(|w| offer_ike(w, &ours, &few, &[])));
        assert_eq!(offered, [[E_GCM, P_256, K_P256]]);
        assert_eq!(first_ike_group(&ours, &few), Some(Group::P256));
        assert_eq!(first_ike_group(&ours[..2], &few), None);
        // Perfect forward secrecy is not left away.
        let pfs = [child(&[GCM], &[Group::X25519]), child(&[GCM], &[Group::X25519, Group::P256])];
        let offered = shown(&body(|w| offer_child(w, &pfs, &few, &SPI, true)));
        assert_eq!(offered, [[E_GCM, K_P256, NO_ESN]]);
    }

    /// IKE messages are never sent unencrypted or with an implicit IV, even if the policy says so.
    #[test]
    fn suites_that_do_not_protect_ike() {
        for suite in [NULL, Suite::aead(Encr::AES_GCM_16_IIV, 128)] {
            assert_eq!(first_ike_group(&[ike(&[suite])], &ALL), None);
            let encr = (1, suite.encr.0, key_bits(suite));
            let offer = [encr, (3, suite.integ.0, None), P_256, K_X25519];
            assert_eq!(choose(&[&offer], &[ike(&[suite])], None), None);
            assert_eq!(accept(&[&offer], &[ike(&[suite])]), None);
            let offer = [encr, (3, suite.integ.0, None), NO_ESN];
            assert!(choose_esp(&[&offer], &[child(&[suite], &[])], false).is_some());
        }
    }

    #[test]
    fn our_order_of_preference_counts() {
        let offer: [&[Raw]; 2] =
            [&[E_CBC, I_256, P_256, K_P256, K_X25519], &[E_GCM, P_256, K_P256, K_X25519]];
        for (suites, number) in [([GCM, CBC], 2), ([CBC, GCM], 1)] {
            let (chosen, choice) = choose(&offer, &[ike(&suites)], None).unwrap();
            assert_eq!((chosen, choice.suite, choice.group), (number, suites[0], Group::X25519));
        }
        let both = [ike(&[Suite::AES_256_GCM]), ike(&[CBC])];
        assert_eq!(choose(&offer, &both, None).unwrap().0, 1);
    }

    /// RFC 7296 section 1.2: a group other than that of the KE payload costs a round.
    #[test]
    fn the_group_of_the_key_exchange_at_hand_is_preferred() {
        let ours = [ike(&[GCM])];
        let offer: [Raw; 4] = [E_GCM, P_256, K_X25519, K_P256];
        let group = |offer: &[Raw], prefer| choose(&[offer], &ours, prefer).map(|(_, c)| c.group);
        assert_eq!(group(&offer, Some(Group::P256)), Some(Group::P256));
        assert_eq!(group(&offer, Some(Group::MODP_2048)), Some(Group::X25519));
        assert_eq!(group(&offer, None), Some(Group::X25519));
        // A key exchange that was not offered counts for nothing.
        assert_eq!(group(&offer[..3], Some(Group::P256)), Some(Group::X25519));
        assert_eq!(group(&[E_GCM, P_256, (4, 14, None)], Some(Group::MODP_2048)), None);
    }

    /// RFC 7296 section 3.3.6: what is not understood is not chosen, and what is mandatory must be there.
    #[test]
    fn offers_that_are_refused() {
        let ours = [ike(&[GCM, CBC])];
        for offer in [
            &[E_GCM, P_256, K_X25519, (6, 36, None)][..],
            &[E_GCM, P_256, K_X25519, NO_ESN],
            &[E_GCM, P_256, K_X25519, (99, 1, None)],
            &[(1, 20, None), P_256, K_X25519],
            &[(1, 20, Some(256)), P_256, K_X25519],
            &[E_GCM, P_256, I_256, K_X25519],
            &[E_CBC, P_256, K_X25519],
            &[E_CBC, I_NONE, P_256, K_X25519],
            &[E_GCM, P_256],
            &[E_GCM, P_256, K_NONE],
            &[E_GCM, K_X25519],
            &[P_256, K_X25519],
            &[E_GCM, (2, 7, None), K_X25519],
            &[E_GCM, (2, 5, Some(256)), K_X25519],
        ] {
            assert_eq!(choose(&[offer], &ours, None), None, "{offer:?}");
            let good: [Raw; 3] = [E_GCM, P_256, K_X25519];
            assert_eq!(choose(&[offer, &good], &ours, None).unwrap().0, 2, "{offer:?}");
        }
        let esp = raw(ProtocolId::ESP, &SPI, &[&[E_GCM, P_256, K_X25519]]);
        assert!(choose_ike(&SaPayload::parse(&esp).unwrap(), &ours, &ALL, None).is_none());
    }

    /// RFC 7296 section 3.3.6: an attribute that is not understood spoils its transform only.
    #[test]
    fn transforms_with_unknown_attributes_are_passed_over() {
        // A proposal of two ciphers, the first with an attribute of type 99, a function and a group.
        let offer = [
            0, 0, 0, 48, 1, 1, 0, 4, 3, 0, 0, 16, 1, 0, 0, 20, 0x80, 14, 0, 128, 0x80, 99, 0, 1, 3,
            0, 0, 12, 1, 0, 0, 20, 0x80, 14, 1, 0, 3, 0, 0, 8, 2, 0, 0, 5, 0, 0, 0, 8, 4, 0, 0, 31,
        ];
        let mut offer = offer.to_vec();
        offer[3] = u8::try_from(offer.len()).unwrap();
        let offer = SaPayload::parse(&offer).unwrap();
        let chosen = choose_ike(&offer, &[ike(&[GCM, Suite::AES_256_GCM])], &ALL, None);
        assert_eq!(chosen.unwrap().1.suite, Suite::AES_256_GCM);
    }

    /// Legacy algorithms are chosen only if the policy names them.
    #[test]
    fn legacy_algorithms_need_to_be_named() {
        let offer: [Raw; 4] = [(1, 3, None), (3, 2, None), (2, 2, None), (4, 2, None)];
        assert_eq!(choose(&[&offer], IkeProposal::DEFAULT, None), None);
        let legacy = IkeProposal {
            suites: &[DES3_SHA1],
            prfs: &[PrfId::HMAC_SHA1],
            groups: &[Group::MODP_1024],
            additional: &[],
        };
        assert!(choose(&[&offer], &[legacy], None).is_some());
    }

    /// RFC 7296 section 2.7: the answer has one transform of each type that was offered, those of value NONE included.
    #[test]
    fn a_none_that_was_offered_is_answered() {
        let (_, choice) =
            choose(&[&[E_GCM, I_NONE, P_256, K_X25519]], &[ike(&[GCM])], None).unwrap();
        let answer = shown(&body(|w| answer_ike(w, 1, &choice, &[])));
        assert_eq!(answer, [[E_GCM, I_NONE, P_256, K_X25519]]);
        let offer: [Raw; 4] = [E_GCM, K_X25519, K_NONE, NO_ESN];
        let (_, choice) = choose_esp(&[&offer], &[child(&[GCM], &[])], true).unwrap();
        let answer = shown(&body(|w| answer_child(w, 1, &choice, &SPI)));
        assert_eq!(answer, [[E_GCM, K_NONE, NO_ESN]]);
    }

    #[test]
    fn forward_secrecy_is_agreed_by_both_or_not_at_all() {
        let (with, without) = ([child(&[GCM], &[Group::X25519])], [child(&[GCM], &[])]);
        let ke: &[Raw] = &[E_GCM, K_X25519, NO_ESN];
        let no_ke: &[Raw] = &[E_GCM, NO_ESN];
        let group = |offer, ours, create| choose_esp(&[offer], ours, create).map(|(_, c)| c.group);
        assert_eq!(group(ke, &with, true), Some(Group::X25519));
        assert_eq!(group(no_ke, &with, true), None);
        assert_eq!(group(ke, &without, true), None);
        assert_eq!(group(no_ke, &without, true), Some(Group::NONE));
        // RFC 7296 section 1.2: in IKE_AUTH a child has no key exchange of its own.
        for (offer, ours) in [(ke, &with), (no_ke, &with), (ke, &without), (no_ke, &without)] {
            assert_eq!(group(offer, ours, false), Some(Group::NONE));
        }
        for (answer, ours, create, accepted) in [
            (ke, &with, true, true),
            (no_ke, &with, true, false),
            (ke, &without, true, false),
            (no_ke, &without, true, true),
            (ke, &with, false, false),
            (no_ke, &with, false, true),
        ] {
            assert_eq!(accept_esp(&[answer], ours, create).is_some(), accepted);
        }
    }

    #[test]
    fn esn_is_as_configured() {
        let ours = [ChildProposal { esn: true, ..child(&[GCM], &[]) }];
        assert_eq!(choose_esp(&[&[E_GCM, NO_ESN]], &ours, true), None);
        assert_eq!(choose_esp(&[&[E_GCM]], &ours, true), None);
        assert!(choose_esp(&[&[E_GCM, NO_ESN, ESN]], &ours, true).unwrap().1.esn);
        assert_eq!(accept_esp(&[&[E_GCM, NO_ESN]], &ours, true), None);
        assert_eq!(accept_esp(&[&[E_GCM, (5, 2, None)]], &ours, true), None);
        assert!(accept_esp(&[&[E_GCM, ESN]], &ours, true).unwrap().esn);
    }

    #[test]
    fn a_reserved_spi_is_refused() {
        let body = raw(ProtocolId::ESP, &[0, 0, 0, 255], &[&[E_GCM, NO_ESN]]);
        let offer = SaPayload::parse(&body).unwrap();
        let ours = [child(&[GCM], &[])];
        assert!(choose_child(&offer, &ours, &ALL, None, false).is_none());
        assert!(accept_child(&offer, &ours, &ALL, false).is_none());
    }

    /// RFC 7296 section 2.7: an answer is one proposal with one transform of each type, from the offer.
    #[test]
    fn answers_that_are_refused() {
        let ours = [ike(&[GCM]), IkeProposal { groups: &[Group::MODP_2048], ..ike(&[CBC]) }];
        let good: [Raw; 3] = [E_GCM, P_256, K_X25519];
        assert_eq!(accept(&[&good], &ours).unwrap().suite, GCM);
        let good: [Raw; 4] = [E_CBC, I_256, P_256, (4, 14, None)];
        assert_eq!(accept(&[&good], &ours).unwrap().suite, CBC);
        for answer in [
            &[E_GCM, E_GCM, P_256, K_X25519][..],
            &[E_GCM, P_256, P_256, K_X25519],
            &[E_GCM, P_256, K_X25519, K_P256],
            &[E_GCM, I_256, P_256, K_X25519],
            &[E_GCM, P_256, K_X25519, NO_ESN],
            &[E_GCM, P_256, K_NONE],
            &[E_GCM, P_256],
            &[(1, 20, Some(256)), P_256, K_X25519],
            &[(1, 20, None), P_256, K_X25519],
            &[E_GCM, (2, 7, None), K_X25519],
            &[E_CBC, P_256, (4, 14, None)],
            // Each was offered, but not together.
            &[E_CBC, I_256, P_256, K_X25519],
            &[E_GCM, P_256, (4, 14, None)],
        ] {
            assert_eq!(accept(&[answer], &ours), None, "{answer:?}");
        }
        assert_eq!(accept(&[&[E_GCM, P_256, K_X25519], &[E_GCM, P_256, K_X25519]], &ours), None);
    }

    /// Whatever two policies are, what the responder chooses is in both, and the initiator accepts the answer.
    #[test]
    fn a_choice_is_in_the_offer_and_in_the_policy() {
        let mut random = 7u64;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random >> 33
        };
        fn pick<T: Copy>(all: &[T], bits: u64) -> Vec<T> {
            let mut some: Vec<T> = all
                .iter()
                .enumerate()
                .filter(|(i, _)| bits >> i & 1 == 1)
                .map(|(_, t)| *t)
                .collect();
            if bits >> 20 & 1 == 1 {
                some.reverse();
            }
            some
        }
        let mut agreed = [0, 0];
        for _ in 0..3_000 {
            let mut policy =
                || (pick(&SUITES, next()), pick(&PRFS, next()), pick(ALL.groups, next()));
            let (a, b) = ([policy(), policy()], [policy(), policy()]);
            fn ike(p: &(Vec<Suite>, Vec<PrfId>, Vec<Group>)) -> IkeProposal<'_> {
                IkeProposal { suites: &p.0, prfs: &p.1, groups: &p.2, additional: &[] }
            }
            let (a_ike, b_ike) = ([ike(&a[0]), ike(&a[1])], [ike(&b[0]), ike(&b[1])]);
            let common = a_ike.iter().any(|a| {
                b_ike.iter().any(|b| {
                    a.suites.iter().any(|s| b.suites.contains(s) && protects_ike(*s))
                        && a.prfs.iter().any(|p| b.prfs.contains(p))
                        && a.groups.iter().any(|g| b.groups.contains(g))
                })
            });
            let offered = first_ike_group(&a_ike, &ALL)
                .is_some()
                .then(|| body(|w| offer_ike(w, &a_ike, &ALL, &[9; 8])));
            let chosen = offered
                .as_ref()
                .and_then(|body| choose_ike(&SaPayload::parse(body).unwrap(), &b_ike, &ALL, None));
            assert_eq!(chosen.is_some(), common);
            if let Some((number, choice, spi)) = chosen {
                assert_eq!(spi, [9; 8]);
                let of_b = b_ike.iter().find(|b| b.suites.contains(&choice.suite));
                assert!(of_b.is_some());
                let answer = body(|w| answer_ike(w, number, &choice, &[8; 8]));
                // Every transform of the answer stands in the proposal of that number.
                let theirs = &shown(offered.as_ref().unwrap())[usize::from(number) - 1];
                assert!(shown(&answer)[0].iter().all(|t| theirs.contains(t)));
                let answer = SaPayload::parse(&answer).unwrap();
                assert_eq!(accept_ike(&answer, &a_ike, &ALL), Some(choice));
                assert_eq!(answer.single().unwrap().number, number);
                agreed[0] += 1;
            }

            fn esp(p: &(Vec<Suite>, Vec<PrfId>, Vec<Group>)) -> ChildProposal<'_> {
                ChildProposal { suites: &p.0, groups: &p.2, esn: p.1.len() > 1, additional: &[] }
            }
            let (a_esp, b_esp) = ([esp(&a[0]), esp(&a[1])], [esp(&b[0]), esp(&b[1])]);
            for with_group in [false, true] {
                if !a_esp.iter().any(|a| can_offer_child(a, &ALL, with_group)) {
                    continue;
                }
                let offer = body(|w| offer_child(w, &a_esp, &ALL, &SPI, with_group));
                let offer = SaPayload::parse(&offer).unwrap();
                let Some((number, choice, _)) =
                    choose_child(&offer, &b_esp, &ALL, None, with_group)
                else {
                    continue;
                };
                assert!(b_esp.iter().any(|b| {
                    b.suites.contains(&choice.suite)
                        && b.esn == choice.esn
                        && (b.groups.contains(&choice.group)
                            || choice.group == Group::NONE && (!with_group || b.groups.is_empty()))
                }));
                let answer = body(|w| answer_child(w, number, &choice, &SPI));
                let answer = SaPayload::parse(&answer).unwrap();
                assert_eq!(accept_child(&answer, &a_esp, &ALL, with_group), Some(choice));
                agreed[1] += 1;
            }
        }
        assert!(agreed[0] > 300 && agreed[1] > 300, "{agreed:?}");
    }

    #[test]
    fn an_offer_is_explained_without_repetitions() {
        let offer = raw(
            ProtocolId::IKE,
            &[],
            &[&[E_GCM, P_256, K_X25519], &[E_CBC, I_256, P_256, K_X25519]],
        );
        let all = offer_of(&SaPayload::parse(&offer).unwrap());
        let ids: Vec<_> = all.iter().map(|t| (t.kind.0, t.id, t.key_bits)).collect();
        assert_eq!(ids, [(1, 20, 128), (2, 5, 0), (4, 31, 0), (1, 12, 128), (3, 12, 0)]);
        let many: Vec<Raw> = (0..40).map(|i| (1, i, None)).collect();
        let many = raw(ProtocolId::IKE, &[], &[&many]);
        assert_eq!(offer_of(&SaPayload::parse(&many).unwrap()).len(), 16);
    }
}
