//! What the engine tells its caller.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipsec_core::crypto::{Encr, Group, Integ, PrfId, Suite};
use ipsec_core::path::Path;
#[cfg(feature = "ikev1")]
use ipsec_core::sa::Algorithms;
use ipsec_core::sa::{SaParams, Spi};
use ipsec_core::selector::TrafficSelector;

use crate::auth::{SignatureHashes, Untrusted};
use crate::config::{MAX_ADDITIONAL, RemoteAuth};
use crate::identity::ClaimedId;
#[cfg(feature = "ikev1")]
pub use crate::v1::mismatch::{Parameter, Phase1Mismatch, Value, Values};
use crate::wire::{
    AuthMethod, ConfigAttribute, ConfigPayload, ExchangeType, NotifyType, TransformType,
};

/// Names an IKE SA. Harmless once the SA is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct IkeId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// Names a child SA: a pair of SAs, one to receive on and one to send on. Harmless once it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ChildId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl ChildId {
    /// The number of the slot, below the number of child slots lent to the engine: an index for a caller's own table.
    pub const fn index(self) -> usize {
        self.slot as usize
    }
}

/// Where in the configuration a child SA comes from: the number of its peer, and its number among the peer's children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ChildRef {
    /// Index in [`Config::peers`](crate::config::Config::peers).
    pub peer: u16,
    /// Index in [`Peer::children`](crate::config::Peer::children).
    pub child: u16,
}

/// One of the two SAs of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Direction {
    /// To receive on.
    Inbound,
    /// To send on.
    Outbound,
}

/// What happened, or what the caller must do.
///
/// Events are state of SAs, not a queue: nothing overflows, and each is told once.
#[non_exhaustive]
pub enum Event<'a> {
    /// Install one SA of a child, and answer with [`Ike::installed`](crate::Ike::installed). Until then, the exchange
    /// waits. The keys are lent; they are wiped from the engine when both SAs have been answered for.
    Install {
        /// The child.
        child: ChildId,
        /// Which of the two.
        direction: Direction,
        /// What to install. `tag` is [`ChildId::index`].
        params: SaParams<'a>,
    },
    /// As [`Event::Install`], of a child that is a bundle: install both SAs, or neither. Packets of the one, which `params` is
    /// for, go into the other, and none of it is taken that did not come in the other. Only IKEv1 has it, and only where
    /// [`Child::around`](crate::config::Child::around) asks for it.
    #[cfg(feature = "ikev1")]
    InstallBundle {
        /// The child.
        child: ChildId,
        /// Which direction.
        direction: Direction,
        /// ESP.
        params: SaParams<'a>,
        /// AH around it.
        around: AhParams<'a>,
    },
    /// Both SAs of a child are installed and agreed: send on it as `traffic` says.
    ChildUp {
        /// The child.
        child: ChildId,
        /// Its configuration.
        config: ChildRef,
        /// The IKE SA it belongs to.
        ike: IkeId,
        /// The child that it replaces.
        replaces: Option<ChildId>,
        /// When to send on it.
        traffic: Traffic,
        /// What was agreed.
        agreed: ChildAgreed,
    },
    /// A child has been replaced and deleted: send nothing on it any more. Its SA to receive on stays for a moment, for
    /// packets that the deletion has overtaken; [`Event::ChildDown`] follows.
    ChildLeaves {
        /// The child.
        child: ChildId,
        /// Its configuration.
        config: ChildRef,
    },
    /// A child is gone: remove both its SAs.
    ChildDown {
        /// The child.
        child: ChildId,
        /// Its configuration.
        config: ChildRef,
        /// Why.
        reason: DownReason,
    },
    /// An IKE SA is authenticated.
    IkeUp {
        /// The IKE SA.
        ike: IkeId,
        /// The peer's number in the configuration.
        peer: u16,
        /// Where it is.
        path: Path,
        /// What was agreed.
        agreed: IkeAgreed,
    },
    /// The peer has given us what we asked for (RFC 7296 section 2.19).
    Configured {
        /// The IKE SA, which has been told before.
        ike: IkeId,
        /// The peer's number in the configuration.
        peer: u16,
        /// The reply. [`Given::of`] reads it.
        given: ConfigPayload<'a>,
    },
    /// An IKE SA replaces another one, and has its children.
    IkeRekeyed {
        /// The new IKE SA.
        ike: IkeId,
        /// The old one, which is about to be deleted.
        replaces: IkeId,
        /// The peer's number in the configuration.
        peer: u16,
        /// What was agreed.
        agreed: IkeAgreed,
    },
    /// An IKE SA that was up is gone. Its children have been told before.
    IkeDown {
        /// The IKE SA.
        ike: IkeId,
        /// The peer's number in the configuration.
        peer: u16,
        /// Why.
        reason: DownReason,
    },
    /// The peer is at another endpoint: move the SAs of these children.
    ChildMoved {
        /// The child.
        child: ChildId,
        /// Its path now. The ports tell how its packets travel: 0 where not in UDP.
        path: Path,
    },
    /// Something did not come about.
    Failed {
        /// The peer's number in the configuration, if it is known.
        peer: Option<u16>,
        /// Which tunnel, if it is about one.
        child: Option<ChildRef>,
        /// The datagrams' path.
        path: Path,
        /// Whether it ended something of ours: a request, or a child that we asked for. What a stranger asked for, and
        /// was refused, may carry the number of a peer whose address it used.
        ours: bool,
        /// What, and what each side wanted.
        failure: Failure,
    },
    /// The keys of an IKE SA, if [`Config::key_log`](crate::config::Config::key_log) asks for them.
    IkeKeys {
        /// The initiator's SPI.
        initiator_spi: u64,
        /// The responder's SPI.
        responder_spi: u64,
        /// The protection of messages.
        suite: Suite,
        /// SK_ei and SK_er, each with its salt. Of IKEv1, which has one key, twice that.
        encryption: (&'a [u8], &'a [u8]),
        /// SK_ai and SK_ar, empty for an AEAD. Of IKEv1, twice SKEYID_a.
        integrity: (&'a [u8], &'a [u8]),
    },
}

/// An SA of AH around another one, in transport mode: path, ESN, window, lifetime and tag are those of the other.
#[cfg(feature = "ikev1")]
#[derive(Clone)]
pub struct AhParams<'a> {
    /// Its SPI.
    pub spi: Spi,
    /// AH, and its algorithm.
    pub protection: Algorithms,
    /// Its key.
    pub keymat: &'a [u8],
}

/// What a peer gave us by configuration payload (RFC 7296 section 3.15). Whatever it says beyond that, or beyond the
/// room here, is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Our address in the peer's network.
    pub ipv4: Option<Ipv4Addr>,
    /// The netmask that belongs to it.
    pub netmask: Option<Ipv4Addr>,
    /// Our address in the peer's network, and its prefix length.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// Name servers, the preferred first.
    pub dns: heapless::Vec<IpAddr, 4>,
    /// Domains that they are for; none: for all (RFC 8598 section 3). Separated by spaces.
    pub domains: heapless::String<128>,
    /// IPv4 networks that the peer wants in the tunnel, all else going past it, with the length of their prefixes; none: it does not
    /// say. In IKEv1, Cisco's UNITY_SPLIT_INCLUDE; in IKEv2, INTERNAL_IP4_SUBNET.
    pub networks: heapless::Vec<(Ipv4Addr, u8), 8>,
}

impl Given {
    /// What a reply says.
    pub fn of(reply: &ConfigPayload<'_>) -> Self {
        let mut given = Self::default();
        for (kind, value) in reply.attributes() {
            given.take(kind, value);
        }
        given
    }

    fn take(&mut self, kind: ConfigAttribute, value: &[u8]) {
        let v4 = || value.try_into().ok().map(|octets: [u8; 4]| Ipv4Addr::from(octets));
        let v6 = || value.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets));
        match kind {
            ConfigAttribute::INTERNAL_IP4_ADDRESS => self.ipv4 = self.ipv4.or(v4()),
            ConfigAttribute::INTERNAL_IP4_NETMASK => self.netmask = self.netmask.or(v4()),
            ConfigAttribute::INTERNAL_IP6_ADDRESS => {
                let prefix = value.get(16).copied().filter(|len| *len <= 128).unwrap_or(128);
                self.ipv6 = self.ipv6.or(v6().map(|address| (address, prefix)));
            }
            ConfigAttribute::INTERNAL_IP4_DNS => {
                let _ = v4().map(|address| self.dns.push(address.into()));
            }
            ConfigAttribute::INTERNAL_IP6_DNS if value.len() == 16 => {
                let _ = v6().map(|address| self.dns.push(address.into()));
            }
            ConfigAttribute::INTERNAL_IP4_SUBNET => {
                let parts = value.split_first_chunk::<4>().and_then(|(address, mask)| {
                    let mask = u32::from_be_bytes(mask.try_into().ok()?);
                    let whole = mask.leading_ones().checked_add(mask.trailing_zeros()) == Some(32);
                    let len = u8::try_from(mask.leading_ones()).ok()?;
                    let network = u32::from_be_bytes(*address) & mask;
                    whole.then_some((Ipv4Addr::from_bits(network), len))
                });
                let _ = parts.map(|network| self.networks.push(network));
            }
            ConfigAttribute::INTERNAL_DNS_DOMAIN => {
                // A host name and nothing else: it goes to a resolver's configuration.
                let sound = |c: &u8| c.is_ascii_alphanumeric() || b"-._".contains(c);
                let name = core::str::from_utf8(value).ok();
                let name = name.filter(|n| !n.is_empty() && n.bytes().all(|c| sound(&c)));
                let space = if self.domains.is_empty() { "" } else { " " };
                if let Some(name) = name
                    && self.domains.len().saturating_add(name.len()) < self.domains.capacity()
                {
                    let _ = self.domains.push_str(space);
                    let _ = self.domains.push_str(name);
                }
            }
            _ => {}
        }
    }
}

/// When to send on a new child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Traffic {
    /// From now on.
    Now,
    /// When a packet has arrived on it, or the child it replaces is gone (RFC 7296 section 2.8).
    AfterFirstPacket,
}

/// What was agreed for an IKE SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct IkeAgreed {
    /// The initiator's SPI.
    pub initiator_spi: u64,
    /// The responder's SPI.
    pub responder_spi: u64,
    /// Protection of messages.
    pub suite: Suite,
    /// Pseudo-random function.
    pub prf: PrfId,
    /// Key exchange.
    pub group: Group,
    /// Key exchanges after it (RFC 9370), by transform type; [`Group::NONE`] where there is none.
    pub additional: [Group; MAX_ADDITIONAL],
    /// Whether a post-quantum pre-shared key went into it (RFC 8784).
    pub ppk: bool,
    /// Whether a NAT is before us.
    pub nat_local: bool,
    /// Whether a NAT is before the peer.
    pub nat_remote: bool,
}

/// What was agreed for a child SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ChildAgreed {
    /// We receive on it.
    pub inbound_spi: Spi,
    /// We send on it.
    pub outbound_spi: Spi,
    /// Protection of packets, by ESP or AH.
    pub suite: Suite,
    /// AH around it: the child is a bundle.
    #[cfg(feature = "ikev1")]
    pub around: Option<AgreedAh>,
    /// Extended sequence numbers.
    pub esn: bool,
    /// The key exchange of its own, [`Group::NONE`] if it has none.
    pub group: Group,
    /// Key exchanges after it (RFC 9370), by transform type; [`Group::NONE`] where there is none.
    pub additional: [Group; MAX_ADDITIONAL],
    /// Whether ESP travels in UDP.
    pub encapsulated: bool,
    /// Transport mode in place of tunnel mode.
    pub transport: bool,
}

/// What was agreed for AH around a child SA.
#[cfg(feature = "ikev1")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AgreedAh {
    /// Its algorithm.
    pub integ: Integ,
    /// We receive on it.
    pub inbound_spi: Spi,
    /// We send on it.
    pub outbound_spi: Spi,
}

/// Why an SA ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DownReason {
    /// We were told to.
    Closed,
    /// The peer deleted it.
    Deleted,
    /// It was replaced.
    Rekeyed,
    /// It was replaced by one with a new authentication.
    Reauthenticated,
    /// Its life is over and no replacement came about.
    Expired,
    /// The peer does not answer.
    PeerSilent {
        /// How often our last request was sent.
        tries: u8,
    },
    /// The caller could not install one of its SAs.
    NotInstalled,
    /// The peer has started afresh (INITIAL_CONTACT).
    Replaced,
    /// The IKE SA that carried it is gone.
    IkeGone,
    /// The peer broke the protocol.
    Protocol,
}

impl core::fmt::Display for DownReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::PeerSilent { tries } => {
                return write!(f, "peer silent: no answer after {tries} tries");
            }
            Self::Closed => "closed",
            Self::Deleted => "deleted by the peer",
            Self::Rekeyed => "rekeyed",
            Self::Reauthenticated => "reauthenticated",
            Self::Expired => "expired",
            Self::NotInstalled => "not installed",
            Self::Replaced => "replaced by a new start of the peer",
            Self::IkeGone => "IKE SA gone",
            Self::Protocol => "protocol error",
        })
    }
}

/// The transforms that a peer offered: what a refusal shows to a person.
pub type Offer = heapless::Vec<Offered, 16>;

/// One transform of an [`Offer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Which kind of algorithm.
    pub kind: TransformType,
    /// Its number in that registry.
    pub id: u16,
    /// Its key length in bits, 0 if none was given.
    pub key_bits: u16,
}

impl core::fmt::Display for Offered {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.kind {
            TransformType::ENCR => Encr(self.id).fmt(f)?,
            TransformType::PRF => PrfId(self.id).fmt(f)?,
            TransformType::INTEG => Integ(self.id).fmt(f)?,
            TransformType::KE => Group(self.id).fmt(f)?,
            TransformType::ESN => {
                f.write_str(if self.id == 0 { "no ESN" } else { "ESN" })?;
            }
            kind => write!(f, "{kind} {}", self.id)?,
        }
        if self.key_bits != 0 { write!(f, "-{}", self.key_bits) } else { Ok(()) }
    }
}

/// Why a tunnel did not come up, with what each side wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No entry of the configuration fits the peer's address.
    UnknownPeer,
    /// We found nothing acceptable in what the peer offers.
    NoProposal {
        /// What it offers, cut after sixteen transforms.
        offered: Offer,
    },
    /// We found nothing acceptable in what the peer offers for phase 1 of IKEv1.
    #[cfg(feature = "ikev1")]
    Phase1Mismatch(Phase1Mismatch),
    /// The peer found nothing acceptable in what we offer (NO_PROPOSAL_CHOSEN).
    ProposalRefused,
    /// The peer wants another key-exchange group than we asked for (INVALID_KE_PAYLOAD), which we do not allow.
    GroupRefused {
        /// The group it wants.
        wanted: Group,
        /// The group that we asked for.
        ours: Group,
    },
    /// All else fits, and the two sides do not agree on a child's own key exchange, for perfect forward secrecy: one
    /// wants none, or they want different groups. The first child of an IKE SA has none (RFC 7296 section 1.2), so this
    /// shows when it is rekeyed.
    PfsMismatch {
        /// The group that the peer sent a value of; [`Group::NONE`] without.
        theirs: Group,
        /// The first that the configuration allows; [`Group::NONE`] if it wants none.
        ours: Group,
    },
    /// The peer has agreed to a child with these algorithms before, and refuses to replace it: it wants another key
    /// exchange with it, or none (RFC 7296 section 1.3).
    PfsRefused {
        /// The group that we asked for; [`Group::NONE`] without.
        ours: Group,
    },
    /// The peer's proof is wrong: the two sides do not have the same pre-shared key.
    AuthenticationFailed,
    /// The peer's signature or certificate is not believed.
    Untrusted {
        /// Who it says it is.
        claimed: ClaimedId,
        /// Why not.
        reason: Untrusted,
    },
    /// The peer proves itself in another way than the configuration asks for.
    MethodRefused {
        /// Its way.
        used: AuthMethod,
        /// Ours.
        wanted: AuthKind,
    },
    /// The peer does not use the post-quantum pre-shared key that the configuration requires, or names one that we do not
    /// have and gives no proof without it (RFC 8784).
    PpkNotShared,
    /// The peer says that our proof is wrong (AUTHENTICATION_FAILED): another pre-shared key, or it does not believe our
    /// signature or certificate, or does not know our identity.
    AuthenticationRefused,
    /// The peer says that it is somebody whom the configuration does not know at this address, or it asks for somebody
    /// whom we are not.
    UnknownIdentity {
        /// Who it says it is.
        claimed: ClaimedId,
    },
    /// The algorithms that were agreed on before the peer said who it is are not allowed to it.
    SuiteNotAllowed {
        /// Protection of messages.
        suite: Suite,
        /// Pseudo-random function.
        prf: PrfId,
        /// Key exchange.
        group: Group,
    },
    /// Our key makes no signature that the peer understands.
    NoSignatureScheme {
        /// The hashes that the peer has announced (RFC 7427 section 4); `None`: it knows the older methods only.
        theirs: Option<SignatureHashes>,
    },
    /// Our own key did not sign: it is missing, or the hardware failed, or it took too long.
    NotSigned,
    /// A message is longer than a buffer: certificates are long.
    TooLong,
    /// The peer asks for traffic that the configuration does not allow it.
    NoSelectors {
        /// The first selector of its own side that it asked for.
        theirs: Option<TrafficSelector>,
        /// The first selector of our side that it asked for.
        ours: Option<TrafficSelector>,
    },
    /// The peer does not allow the traffic that we ask for (TS_UNACCEPTABLE).
    SelectorsRefused,
    /// A side of the tunnel has several traffic selectors, or ports that are neither one nor all: IKEv1 cannot say that.
    #[cfg(feature = "ikev1")]
    TooManySelectors,
    /// The peer makes child SAs for one pair of addresses only (SINGLE_PAIR_REQUIRED), and it is not known which pair is
    /// wanted: [`Child::from_packet`](crate::config::Child::from_packet) has to say that both are taken from the packet.
    SinglePairRequired,
    /// The peer drops packets of ours that the child was not made for (INVALID_SELECTORS).
    InvalidSelectors,
    /// The peer answers with traffic that we did not ask for.
    NotNarrowed {
        /// The first selector of our side in its answer.
        ours: Option<TrafficSelector>,
        /// The first selector of its own side in its answer.
        theirs: Option<TrafficSelector>,
    },
    /// The peer made the child, and deleted it before it was up here.
    DeletedMeanwhile,
    /// The peer insists on tunnel mode, and the configuration on transport mode.
    TransportRefused,
    /// The peer asks for tunnel mode, and the configuration allows transport mode only.
    TransportRequired,
    /// The peer asks for transport mode, and the configuration allows tunnel mode only.
    TunnelRequired,
    /// One side detected a NAT and encapsulates in UDP, and the other did not.
    NatMismatch {
        /// Whether it is ours that did.
        ours: bool,
    },
    /// Transport mode is between the two ends of the IKE SA, which the configured selectors leave out.
    NotOurEnds,
    /// Every address of the pool is taken.
    NoAddress,
    /// The peer must take an address from us, and did not ask for one.
    AddressNotAsked,
    /// Mode Config: the peer does not give us an address that we need.
    #[cfg(feature = "ikev1")]
    NotConfigured,
    /// XAUTH: the peer does not accept our user's name and password.
    #[cfg(feature = "ikev1")]
    UserRefused,
    /// XAUTH: the peer has not asked for our user's name and password, although that was agreed on.
    #[cfg(feature = "ikev1")]
    UserNotAsked,
    /// XAUTH: the peer's user is not known here, or has another password.
    #[cfg(feature = "ikev1")]
    UserUnknown {
        /// His name.
        claimed: ClaimedId,
    },
    /// AH does not get through a NAT, and one was found on the way, or UDP encapsulation is forced (RFC 7296 section
    /// 2.23).
    AhBehindNat,
    /// One side wants AH around ESP, as a bundle, and the other one protocol alone.
    #[cfg(feature = "ikev1")]
    BundleMismatch {
        /// Whether it is this side that wants both ([`Child::around`](crate::config::Child::around)).
        ours: bool,
    },
    /// The provider implements nothing of what the configuration would offer.
    NothingToOffer,
    /// There is a NAT on the way, which the peer does not allow (RFC 4555 section 3.9).
    UnexpectedNat,
    /// The peer refused in another way.
    Refused(NotifyType),
    /// The peer does not answer.
    PeerSilent {
        /// Which request.
        exchange: ExchangeType,
        /// How often it was sent.
        tries: u8,
        /// It went to the port for NAT traversal, where nothing of the peer's came from yet.
        nat_port: bool,
        /// An error that came back without proof of its origin, and may be the reason.
        hint: Option<NotifyType>,
    },
    /// Answers to IKE_SA_INIT came back, and none that can be used: they choose what we did not offer, or their
    /// key-exchange value is invalid.
    AnswerUnusable {
        /// How often the request was sent.
        tries: u8,
    },
    /// The peer does not answer a message that many paths do not carry, and that could not be sent in fragments
    /// (RFC 7383): fragmentation is turned off on one of the two sides, or the peer does not know it.
    FragmentationNeeded {
        /// Which request.
        exchange: ExchangeType,
        /// How often it was sent.
        tries: u8,
        /// Bytes of the message.
        len: u32,
    },
    /// An answer that breaks the protocol, although it is authentic.
    Protocol,
    /// A pool of ours is exhausted.
    NoRoom,
    /// Our cryptography failed, or the peer's key-exchange value is invalid.
    Crypto,
    /// The caller could not install an SA.
    NotInstalled,
}

/// A way to prove who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AuthKind {
    /// A pre-shared key.
    Psk,
    /// A signature with the key of a certificate.
    Certificate,
    /// A signature with a known key.
    RawPublicKey,
}

impl AuthKind {
    pub(crate) const fn of(remote: &RemoteAuth<'_>) -> Self {
        match remote {
            RemoteAuth::Certificate { .. } => Self::Certificate,
            RemoteAuth::RawPublicKey { .. } => Self::RawPublicKey,
            _ => Self::Psk,
        }
    }
}

impl core::fmt::Display for AuthKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Psk => "a pre-shared key",
            Self::Certificate => "a certificate",
            Self::RawPublicKey => "a raw public key",
        })
    }
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::UnknownPeer => f.write_str("no configured peer has this address"),
            Self::NoProposal { offered } => {
                f.write_str("no common proposal; the peer offers")?;
                for (i, transform) in offered.iter().enumerate() {
                    write!(f, "{} {transform}", if i == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            #[cfg(feature = "ikev1")]
            Self::Phase1Mismatch(mismatch) => write!(f, "no common proposal: {mismatch}"),
            Self::ProposalRefused => f.write_str(
                "the peer accepts none of our proposals; compare the algorithms on both sides",
            ),
            Self::GroupRefused { wanted, ours } => write!(
                f,
                "the peer wants key exchange {wanted}, which is not allowed here; we asked for {ours}"
            ),
            Self::PfsMismatch { theirs, ours } => write!(
                f,
                "PFS differs: the peer's key exchange for the child SA is {theirs}, and ours is {ours}"
            ),
            Self::PfsRefused { ours } => write!(
                f,
                "PFS differs: the peer refuses new keys for the child SA with our key exchange, {ours}"
            ),
            Self::AuthenticationFailed => f.write_str(
                "authentication failed: the pre-shared keys differ, or somebody is in between",
            ),
            Self::Untrusted { claimed, reason } => {
                write!(f, "authentication of {claimed} failed: {reason}")
            }
            Self::MethodRefused { used, wanted } => {
                write!(f, "the peer authenticates itself by {used}, and has to do so by {wanted}")
            }
            Self::PpkNotShared => f.write_str(
                "the two sides have no post-quantum pre-shared key in common; compare ppk on both sides",
            ),
            Self::AuthenticationRefused => f.write_str(
                "authentication refused by the peer: the pre-shared keys differ, or it does not believe our certificate, or it does not know our identity",
            ),
            Self::UnknownIdentity { claimed } => write!(
                f,
                "the peer's identity is not the one configured for its address: it says that it is {claimed}"
            ),
            Self::SuiteNotAllowed { suite, prf, group } => {
                write!(f, "{suite}, {prf}, {group} were agreed on by address, and are not allowed to this identity")
            }
            Self::NoSignatureScheme { theirs: Some(theirs) } => {
                write!(f, "our key signs with no hash that the peer knows ({theirs})")
            }
            Self::NoSignatureScheme { theirs: None } => {
                f.write_str("our key signs in no way that a peer without RFC 7427 knows")
            }
            Self::NotSigned => f.write_str("our own key did not sign"),
            Self::TooLong => {
                f.write_str("a message is longer than a buffer: certificates and additional key exchanges need larger ones")
            }
            Self::NoSelectors { theirs, ours } => {
                f.write_str("no common traffic selectors; the peer asks for ")?;
                match (theirs, ours) {
                    (Some(theirs), Some(ours)) => write!(f, "{theirs} to {ours}"),
                    _ => f.write_str("none that we know"),
                }
            }
            Self::SelectorsRefused => f.write_str(
                "the peer refuses our traffic selectors; compare the networks on both sides",
            ),
            #[cfg(feature = "ikev1")]
            Self::TooManySelectors => f.write_str(
                "IKEv1 has one traffic selector for each side, with one port or all; make a tunnel of each pair",
            ),
            Self::SinglePairRequired => f.write_str(
                "the peer makes a child SA for one pair of addresses only, and no packet told which",
            ),
            Self::InvalidSelectors => f.write_str(
                "the peer drops packets of ours that the child SA was not made for; compare the networks on both sides",
            ),
            Self::NotNarrowed { ours, theirs } => {
                f.write_str("the peer answers with traffic selectors beyond ours; it wants ")?;
                match (theirs, ours) {
                    (Some(theirs), Some(ours)) => write!(f, "{theirs} to {ours}"),
                    _ => f.write_str("none that we know"),
                }
            }
            Self::DeletedMeanwhile => {
                f.write_str("the peer deleted the new child SA before it was up here")
            }
            Self::TransportRefused => {
                f.write_str("the peer insists on tunnel mode, and transport mode is required here")
            }
            Self::TransportRequired => {
                f.write_str("the peer asks for tunnel mode, and transport mode is required here")
            }
            Self::TunnelRequired => {
                f.write_str("the peer asks for transport mode, and tunnel mode is required here")
            }
            Self::NatMismatch { ours: true } => f.write_str(
                "a NAT was detected here, and the peer asks for packets outside UDP; compare the settings of NAT traversal",
            ),
            Self::NatMismatch { ours: false } => f.write_str(
                "the peer asks for packets in UDP, and no NAT was detected here; compare the settings of NAT traversal",
            ),
            Self::NotOurEnds => f.write_str(
                "transport mode is between the two gateways themselves; the configured traffic selectors leave their addresses out",
            ),
            Self::NoAddress => f.write_str("every address of the pool is taken"),
            Self::AddressNotAsked => f.write_str(
                "the peer did not ask for an inner address, and its entry in the configuration gives it one",
            ),
            #[cfg(feature = "ikev1")]
            Self::NotConfigured => f.write_str("the peer gives us no inner address (Mode Config)"),
            #[cfg(feature = "ikev1")]
            Self::UserRefused => {
                f.write_str("the peer refuses our user's name or password (XAUTH)")
            }
            #[cfg(feature = "ikev1")]
            Self::UserNotAsked => {
                f.write_str("the peer did not ask for our user's name and password (XAUTH)")
            }
            #[cfg(feature = "ikev1")]
            Self::UserUnknown { claimed } => write!(
                f,
                "no user {claimed} with this password is known here (XAUTH)"
            ),
            #[cfg(feature = "ikev1")]
            Self::BundleMismatch { ours } => f.write_str(if *ours {
                "the configuration wants AH around ESP, as a bundle, and the peer does not offer that"
            } else {
                "the peer wants AH and ESP as a bundle, which the configuration does not allow"
            }),
            Self::AhBehindNat => f.write_str(
                "AH does not get through the NAT on the way; use ESP, or none of UDP encapsulation",
            ),
            Self::UnexpectedNat => {
                f.write_str("there is a NAT on the way, which the peer does not allow")
            }
            Self::NothingToOffer => {
                f.write_str("none of the configured algorithms is implemented")
            }
            Self::Refused(notify) => write!(f, "the peer refused: {notify}"),
            Self::AnswerUnusable { tries } => write!(
                f,
                "no usable answer to IKE_SA_INIT after {tries} tries: it chooses what we did not offer, or its key-exchange \
                 value is invalid"
            ),
            Self::FragmentationNeeded { exchange, tries, len } => write!(
                f,
                "the peer does not answer {exchange}, sent {tries} times: the message has {len} bytes, which many \
                 paths lose, and fragmentation was not agreed on"
            ),
            Self::PeerSilent { exchange, tries, nat_port, hint } => {
                #[cfg(feature = "ikev1")]
                if exchange.0 < ExchangeType::IKE_SA_INIT.0 {
                    // Of IKEv1.
                    let exchange = crate::wire::v1::ExchangeType(exchange.0);
                    write!(f, "no answer to {exchange} after {tries} tries")?;
                    let Some(hint) = hint else { return Ok(()) };
                    let hint = crate::wire::v1::NotifyType(hint.0);
                    return write!(f, " (an unauthenticated {hint} came back)");
                }
                write!(f, "no answer to {exchange} after {tries} tries")?;
                match hint {
                    Some(hint) => write!(f, " (an unauthenticated {hint} came back)"),
                    None if *exchange == ExchangeType::IKE_SA_INIT => {
                        f.write_str(": nothing ever came back")
                    }
                    None if *nat_port => f.write_str(": there were answers from UDP 500, and none from 4500"),
                    None => f.write_str(": there was an answer to IKE_SA_INIT"),
                }
            }
            Self::Protocol => f.write_str("the peer broke the protocol"),
            Self::NoRoom => f.write_str("no room for another exchange"),
            Self::Crypto => f.write_str("a key exchange failed"),
            Self::NotInstalled => f.write_str("a security association could not be installed"),
        }
    }
}
