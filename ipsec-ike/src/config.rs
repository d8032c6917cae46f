//! What an engine knows of its peers before it hears from them: lent by the caller, read only.

#[cfg(not(all(feature = "ppk", feature = "signatures")))]
use core::convert::Infallible;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use ipsec_core::crypto::{Curve, Group, HashId, PrfId, SignatureScheme, Suite};
#[cfg(feature = "ikev1")]
use ipsec_core::crypto::{Encr, Integ};
use ipsec_core::lifetime::{Lifetime, Limits};
use ipsec_core::mode::Tunnel;
use ipsec_core::sa::AhAlign;
use ipsec_core::selector::{AddressRange, DscpSet, FromPacket, TrafficSelector};

#[cfg(feature = "ikev1")]
use crate::identity::ClaimedId;
use crate::identity::Identity;
#[cfg(feature = "ikev1")]
use crate::wire::{IdPayload, IdType};

/// The configuration of an engine.
#[derive(Clone, Copy)]
pub struct Config<'r> {
    /// In order of preference: a responder takes the first whose address and identities fit.
    ///
    /// Whoever sends an IKE_SA_INIT message makes a responder look for the entries of its address. Those in front that
    /// have a [`Peer::remote`] and are sorted by it are found by halving, however many there are; every other entry is
    /// compared. So who knows thousands of peers puts those with an address in front, sorted. Who knows thousands without
    /// an address, or more than the 65,536 entries that can be numbered, keeps them in a store of its own, behind one entry
    /// (`RemoteAuth::Store`, feature `store`).
    pub peers: &'r [Peer<'r>],
    /// With this many half-open exchanges of other initiators, a newcomer must return a cookie first
    /// (RFC 7296 section 2.6). 0 asks everyone. Whatever it is, a newcomer is asked when half of the memory for such
    /// exchanges, or of the message buffers, is in use, or only one IKE SA is left.
    pub cookie_threshold: usize,
    /// Our UDP ports.
    pub ports: Ports,
    /// Addresses to give to peers whose entry says so ([`Peer::assigns`]).
    #[cfg(feature = "configuration")]
    pub pool: Option<&'r Pool<'r>>,
    /// Hand out the keys of IKE SAs as [`Event::IkeKeys`](crate::event::Event::IkeKeys), for a key log. Off unless
    /// somebody debugs.
    pub key_log: bool,
}

impl<'r> Config<'r> {
    /// These peers, with usual settings.
    pub const fn new(peers: &'r [Peer<'r>]) -> Self {
        Self {
            peers,
            cookie_threshold: 16,
            ports: Ports::STANDARD,
            #[cfg(feature = "configuration")]
            pool: None,
            key_log: false,
        }
    }

    /// The addresses to give away.
    pub(crate) const fn addresses(&self) -> Option<&'r Pool<'r>> {
        #[cfg(feature = "configuration")]
        return self.pool;
        #[cfg(not(feature = "configuration"))]
        None
    }
}

/// One peer, or one kind of peer.
#[derive(Clone, Copy)]
pub struct Peer<'r> {
    /// For people.
    pub name: &'r str,
    /// Our address; `None` accepts any, and then only a responder can use the entry.
    pub local: Option<IpAddr>,
    /// The peer's address; `None` accepts any, and then only a responder can use the entry.
    pub remote: Option<IpAddr>,
    /// The peer's UDP ports, where we begin.
    pub ports: Ports,
    /// Who we say we are.
    pub local_id: Identity<'r>,
    /// Who the peer must prove to be.
    pub remote_id: Identity<'r>,
    /// How both sides prove it.
    pub auth: Auth<'r>,
    /// A further secret, which makes what is agreed safe from quantum computers. `None`: none.
    pub ppk: Option<Ppk<'r>>,
    /// Acceptable algorithms for IKE, in order of preference.
    pub proposals: &'r [IkeProposal<'r>],
    /// Which versions of IKE it may speak.
    #[cfg(feature = "ikev1")]
    pub versions: Versions<'r>,
    /// The tunnels to this peer.
    pub children: &'r [Child<'r>],
    /// Rekey the IKE SA after this time, less a random tenth.
    pub rekey_after: Duration,
    /// Authenticate anew after this time (RFC 7296 section 2.8.3): whoever began makes a new IKE SA with new children, and
    /// then ends the old one. To an initiator we say so (RFC 4478), and end what it has not renewed by then. `MAX`: never.
    #[cfg(feature = "reauthentication")]
    pub reauthenticate_after: Duration,
    /// End the IKE SA after this time, if it has not been rekeyed.
    pub expire_after: Duration,
    /// Ask a peer that has been silent for this long whether it is alive (RFC 7296 section 2.4). `None`: never ask.
    pub liveness: Option<Duration>,
    /// When to send a request again, and when to give up.
    pub retransmission: Retransmission,
    /// Encapsulate ESP in UDP even when no NAT is found.
    pub force_encapsulation: bool,
    /// A protected message that makes a longer IP packet than this is sent in fragments, and fragments are taken from the
    /// peer, if it agrees (RFC 7383; of IKEv1, by the vendor ID FRAGMENTATION, whose fragments nothing authenticates). 1280 gets through every IPv6 path; what is less than 256 counts as that. `None`:
    /// neither; so it is too without [`IkeMemory::assembly`](crate::IkeMemory::assembly).
    pub fragment_size: Option<u16>,
    /// What to ask it for when we begin (RFC 7296 section 2.19). The peer then narrows [`Child::local`], which should
    /// be everything, to the address that it gives.
    #[cfg(feature = "configuration")]
    pub asks: Ask,
    /// It has to ask us for an address of [`Config::pool`], and may use no other: of [`Child::remote`], which may be
    /// everything, its children get that address.
    #[cfg(feature = "configuration")]
    pub assigns: bool,
    /// IKE SAs begin without a child where both sides can (RFC 6023); the first child is then made like all others, with a
    /// key exchange of its own if [`Child::proposals`] want one. `false`: we do not say that we can.
    pub childless: bool,
    /// How its SAs may move to other addresses (RFC 4555), if at all. It needs
    /// [`Ike::support_mobike`](crate::Ike::support_mobike).
    pub mobike: Option<&'r Mobike<'r>>,
}

impl<'r> Peer<'r> {
    /// A peer at `remote` seen from `local`, authenticated by a pre-shared key, with usual settings and no tunnels.
    pub const fn psk(
        local: (Option<IpAddr>, Identity<'r>),
        remote: (Option<IpAddr>, Identity<'r>),
        key: &'r [u8],
    ) -> Self {
        Self {
            name: "",
            local: local.0,
            remote: remote.0,
            ports: Ports::STANDARD,
            local_id: local.1,
            remote_id: remote.1,
            auth: Auth::psk(key),
            ppk: None,
            proposals: IkeProposal::DEFAULT,
            #[cfg(feature = "ikev1")]
            versions: Versions::V2,
            children: &[],
            rekey_after: Duration::from_secs(4 * 3600),
            #[cfg(feature = "reauthentication")]
            reauthenticate_after: Duration::MAX,
            expire_after: Duration::from_secs(4 * 3600 + 1800),
            liveness: Some(Duration::from_secs(30)),
            retransmission: Retransmission::DEFAULT,
            force_encapsulation: false,
            fragment_size: Some(1280),
            #[cfg(feature = "configuration")]
            asks: Ask::NOTHING,
            #[cfg(feature = "configuration")]
            assigns: false,
            childless: false,
            mobike: None,
        }
    }
}

/// Which versions of IKE a peer may speak. Whoever may speak both is spoken to in IKEv2, and answered in its own.
#[cfg(feature = "ikev1")]
#[derive(Clone, Copy, Debug, Default)]
pub enum Versions<'r> {
    /// IKEv2.
    #[default]
    V2,
    /// IKEv1, so.
    V1(V1<'r>),
    /// Either.
    Either(V1<'r>),
}

#[cfg(feature = "ikev1")]
impl<'r> Versions<'r> {
    /// How IKEv1 is spoken, if it may be.
    pub const fn v1(&self) -> Option<&V1<'r>> {
        match self {
            Self::V2 => None,
            Self::V1(v1) | Self::Either(v1) => Some(v1),
        }
    }

    pub(crate) const fn begins_with_v1(&self) -> bool {
        matches!(self, Self::V1(_))
    }
}

/// What IKEv1 needs to know of a peer besides.
#[cfg(feature = "ikev1")]
#[derive(Clone, Copy, Debug)]
pub struct V1<'r> {
    /// How phase 1 is begun.
    pub mode: Phase1Mode,
    /// Acceptable algorithms for phase 1, in order of preference. The method of authentication is that of
    /// [`Peer::auth`], the lifetime [`Peer::expire_after`].
    pub proposals: &'r [Phase1Proposal<'r>],
    /// Whether a user has to prove himself after phase 1 (XAUTH), besides what [`Peer::auth`] says.
    #[cfg(feature = "configuration")]
    pub xauth: Xauth<'r>,
    /// In Mode Config, the server tells the client its addresses unasked. `false`: the client asks, as most do. Both sides
    /// have to be set alike. Who asks for what, and who gives, say [`Peer::asks`] and [`Peer::assigns`]; of name servers'
    /// domains, IKEv1 does not speak.
    #[cfg(feature = "configuration")]
    pub push: bool,
}

/// Whether a user has to prove himself after phase 1 (XAUTH, draft-beaulieu-ike-xauth-02), and on which side he is.
///
/// [`Peer::auth`] is then what a group of users has in common, and nothing that one of them knows alone. So whoever has
/// left the group can pretend to be the server to the others, and read their passwords, unless the server signs.
#[cfg(feature = "ikev1")]
#[derive(Clone, Copy, Debug, Default)]
pub enum Xauth<'r> {
    /// No.
    #[default]
    None,
    /// We have a user: this one.
    User(User<'r>),
    /// The peer has to be one of these users. Whoever comes again replaces his own earlier SA: a user is one device.
    Users(&'r [User<'r>]),
    /// The peer has to be a user whom the caller knows: the job [`Job::User`](crate::jobs::Job::User) asks.
    Ask,
}

/// A user of XAUTH.
#[cfg(feature = "ikev1")]
#[derive(Clone, Copy)]
pub struct User<'r> {
    /// The name.
    pub name: &'r [u8],
    /// The password; with an empty one, nobody is let in.
    pub password: &'r [u8],
}

#[cfg(feature = "ikev1")]
impl core::fmt::Debug for User<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let name = ClaimedId::of(&IdPayload::new(IdType::RFC822_ADDR, self.name));
        write!(f, "User({name})")
    }
}

#[cfg(feature = "ikev1")]
impl V1<'static> {
    /// Main Mode, with what we would choose ourselves.
    pub const MAIN: Self = Self {
        mode: Phase1Mode::Main,
        proposals: Phase1Proposal::DEFAULT,
        #[cfg(feature = "configuration")]
        xauth: Xauth::None,
        #[cfg(feature = "configuration")]
        push: false,
    };
    /// Aggressive Mode, with what we would choose ourselves.
    pub const AGGRESSIVE: Self = Self { mode: Phase1Mode::Aggressive, ..Self::MAIN };
}

#[cfg(feature = "ikev1")]
impl<'r> V1<'r> {
    /// Whether there is a user, and where.
    pub(crate) const fn user(&self) -> Xauth<'r> {
        #[cfg(feature = "configuration")]
        return self.xauth;
        #[cfg(not(feature = "configuration"))]
        Xauth::None
    }

    /// Whether addresses are told, and not asked for.
    pub(crate) const fn pushes(&self) -> bool {
        #[cfg(feature = "configuration")]
        return self.push;
        #[cfg(not(feature = "configuration"))]
        false
    }
}

/// The two ways of phase 1.
#[cfg(feature = "ikev1")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Phase1Mode {
    /// Main Mode; Aggressive Mode is refused.
    Main,
    /// Aggressive Mode, where we begin; the peer may begin with either.
    ///
    /// With a pre-shared key, anybody who knows the peer's identity and asks gets a hash to try guesses of the key on, at
    /// leisure: the key must be random, not a word. Identities travel in the clear. Use it only for a peer that has no
    /// Main Mode, or that has no fixed address and so no other way to a key of its own.
    Aggressive,
}

/// Algorithms for phase 1: any of the ciphers, with any of the functions, with any of the groups.
#[cfg(feature = "ikev1")]
#[derive(Clone, Copy, Debug)]
pub struct Phase1Proposal<'r> {
    /// Encryption in CBC mode; [`Suite::integ`] is none, since messages are authenticated by the hash.
    pub suites: &'r [Suite],
    /// The hash, as the HMAC that is made of it.
    pub prfs: &'r [PrfId],
    /// Key exchanges.
    pub groups: &'r [Group],
}

#[cfg(feature = "ikev1")]
impl Phase1Proposal<'static> {
    /// What we would choose ourselves.
    pub const DEFAULT: &'static [Self] = &[Self {
        suites: &[aes_cbc(256), aes_cbc(128)],
        prfs: &[PrfId::HMAC_SHA2_256, PrfId::HMAC_SHA2_384, PrfId::HMAC_SHA2_512],
        groups: &[Group::P256, Group::P384, Group::MODP_2048],
    }];
}

#[cfg(feature = "ikev1")]
impl Peer<'_> {
    /// Whether IKEv1 can be spoken as [`Peer::auth`] and [`V1::xauth`] say. In IKEv1, both sides prove themselves in the same way
    /// (RFC 2409 section 5): by pre-shared keys; by a signature scheme of IKEv1
    /// ([`SignatureScheme::RsaIkev1`], `EcdsaIkev1`) that both may use, with a user only
    /// RSA; or, where one side has nothing but a user, the other one by RSA. What is not so is refused at the start by
    /// `ipsec::Gateway::new`.
    #[must_use]
    pub fn has_v1_method(&self) -> bool {
        crate::v1::method_of(self, true).is_some()
    }
}

impl Peer<'_> {
    /// How long an authentication is believed.
    pub(crate) const fn authenticated_for(&self) -> Duration {
        #[cfg(feature = "reauthentication")]
        return self.reauthenticate_after;
        #[cfg(not(feature = "reauthentication"))]
        Duration::MAX
    }

    /// What to ask it for.
    pub(crate) const fn asks_for(&self) -> Ask {
        #[cfg(feature = "configuration")]
        return self.asks;
        #[cfg(not(feature = "configuration"))]
        Ask::NOTHING
    }

    /// Whether it has to ask us for an address.
    pub(crate) const fn is_assigned(&self) -> bool {
        #[cfg(feature = "configuration")]
        return self.assigns;
        #[cfg(not(feature = "configuration"))]
        false
    }

    /// Whether it has to name a user: then there are several, whatever its address and its identity.
    pub(crate) const fn wants_user(&self) -> bool {
        #[cfg(feature = "ikev1")]
        return match self.versions.v1() {
            Some(v1) => matches!(v1.user(), Xauth::Users(_) | Xauth::Ask),
            None => false,
        };
        #[cfg(not(feature = "ikev1"))]
        false
    }

    /// Whether it may speak IKEv2.
    pub(crate) const fn speaks_v2(&self) -> bool {
        #[cfg(feature = "ikev1")]
        return !matches!(self.versions, Versions::V1(_));
        #[cfg(not(feature = "ikev1"))]
        true
    }
}

/// AES in CBC mode, alone.
#[cfg(feature = "ikev1")]
const fn aes_cbc(key_bits: u16) -> Suite {
    Suite { encr: Encr::AES_CBC, key_bits, integ: Integ::NONE }
}

/// What to ask a peer for by configuration payload. The answer comes as
/// [`Event::Configured`](crate::event::Event::Configured).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ask {
    /// An IPv4 address, with its netmask.
    pub ipv4: bool,
    /// An IPv6 address.
    pub ipv6: bool,
    /// Name servers of these families, and the domains that they are for (RFC 8598).
    pub dns: bool,
}

impl Ask {
    /// For nothing.
    pub const NOTHING: Self = Self { ipv4: false, ipv6: false, dns: false };
}

/// How SAs with a peer move to other addresses (RFC 4555). A responder that supports it should wait long for answers, so
/// that the initiator has the time to move: [`Retransmission`], five minutes or more (section 3.11).
#[derive(Clone, Copy, Debug)]
pub struct Mobike<'r> {
    /// NATs may be on a path, and are looked for. `false`: what comes through one does not move an SA that we began.
    pub nats: bool,
    /// Before traffic goes to another address of the peer, it has to show that it receives there (section 3.7). `false`
    /// is for networks in which nobody can send from another's address.
    pub check: bool,
    /// A peer that began the SA may move to these addresses only. Empty: to any.
    pub within: &'r [AddressRange],
    /// Addresses that we can be reached at besides: the peer is told of them (section 3.4).
    pub others: &'r [IpAddr],
}

impl Mobike<'static> {
    /// To anywhere, through NATs, after a check.
    pub const ANYWHERE: Self = Self { nats: true, check: true, within: &[], others: &[] };
}

impl Mobike<'_> {
    /// Whether a peer may move to this address.
    pub(crate) fn accepts(&self, address: IpAddr) -> bool {
        self.within.is_empty() || self.within.iter().any(|range| range.contains(address))
    }
}

/// Addresses and what else there is to give to peers that ask (RFC 7296 section 2.19). As many are given away as there
/// are [`Lease`](crate::Lease)s in the memory, each to one identity at a time; who comes again gets the same if it is free.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'r> {
    /// The first and the last IPv4 address.
    pub ipv4: Option<(Ipv4Addr, Ipv4Addr)>,
    /// The first and the last IPv6 address.
    pub ipv6: Option<(Ipv6Addr, Ipv6Addr)>,
    /// Name servers.
    pub dns: &'r [IpAddr],
    /// Domains that these are for; none: for all.
    pub domains: &'r [&'r str],
    /// Networks behind us, at most 8, with the length of their prefixes: what clients of IKEv1 shall send into the tunnel, and nothing
    /// else (Cisco's UNITY_SPLIT_INCLUDE). None: everything.
    pub networks: &'r [(Ipv4Addr, u8)],
}

/// The UDP ports of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ports {
    /// IKE without a NAT.
    pub ike: u16,
    /// IKE and ESP with a NAT between, where IKE has a non-ESP marker (RFC 3948).
    pub nat: u16,
}

impl Ports {
    /// 500 and 4500.
    pub const STANDARD: Self = Self { ike: 500, nat: 4500 };
}

/// How the two sides prove who they are. Each has its own way (RFC 7296 section 2.15).
#[derive(Clone, Copy)]
pub struct Auth<'r> {
    /// How we do.
    pub local: LocalAuth<'r>,
    /// How the peer has to.
    pub remote: RemoteAuth<'r>,
}

impl<'r> Auth<'r> {
    /// Both sides know the same secret. It should have at least 128 bits of entropy: whoever answers the initiator's
    /// IKE_AUTH can try guesses at leisure (RFC 7296 section 2.15).
    pub const fn psk(key: &'r [u8]) -> Self {
        Self { local: LocalAuth::Psk(key), remote: RemoteAuth::Psk(key) }
    }
}

/// A post-quantum pre-shared key (RFC 8784): a secret that goes into the keys of children and of later IKE SAs, and into
/// both proofs, whatever these are made with. Who has recorded everything, and can undo the key exchange one day, does not
/// have it. What IKE_AUTH itself says, he reads then.
#[derive(Clone, Copy)]
pub struct Ppk<'r> {
    /// Its name, which both sides know: a PPK_ID of the type FIXED. At most a few dozen bytes.
    pub id: &'r [u8],
    /// The secret: at least 256 bits of entropy (RFC 8784 section 6).
    pub key: &'r [u8],
    /// Whether the peer must have it. If it need not, we prove ourselves in both ways, and who signs makes two
    /// signatures (RFC 8784 section 3).
    pub required: bool,
    /// Without the feature there is no such key, and nothing that it leads to is linked.
    #[cfg(not(feature = "ppk"))]
    pub needs_the_feature_ppk: Infallible,
}

/// How we prove who we are.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum LocalAuth<'r> {
    /// By knowing a secret.
    Psk(&'r [u8]),
    /// By the secret that the caller's store has for the initiator ([`RemoteAuth::Store`]).
    #[cfg(feature = "store")]
    Store,
    /// By a signature with the key of an X.509 certificate.
    Certificate {
        /// Certificates in DER: ours first, then each one's issuer. The last, which the peer trusts, is left out. At most
        /// [`MAX_CERTS`](crate::wire::MAX_CERTS), and all of them must fit into one message.
        chain: &'r [&'r [u8]],
        /// The key of the first.
        key: SigningKey<'r>,
    },
    /// By a signature with a key that the peer knows (RFC 7670).
    RawPublicKey {
        /// Its public part: a SubjectPublicKeyInfo in DER.
        spki: &'r [u8],
        /// The key.
        key: SigningKey<'r>,
    },
    /// Of IKEv1: by our user alone, after the peer has signed by RSA (hybrid authentication,
    /// draft-ietf-ipsec-isakmp-hybrid-auth-05). It needs [`Xauth::User`].
    #[cfg(feature = "ikev1")]
    User,
}

/// A private key, which stays with whoever runs the jobs.
#[derive(Clone, Copy)]
pub struct SigningKey<'r> {
    /// The caller's name for it, given back in [`SignJob`](crate::auth::SignJob).
    pub id: u32,
    /// What it can make, the preferred first: [`Signer::schemes`](ipsec_core::crypto::Signer::schemes). A peer without
    /// RFC 7427 is sent the first that an older method stands for: [`SignatureScheme::EcdsaRaw`],
    /// [`SignatureScheme::RsaPkcs1`]; a peer of IKEv1 the first of [`SignatureScheme::RsaIkev1`] and
    /// [`SignatureScheme::EcdsaIkev1`], whose method has to be the peer's, too.
    pub schemes: &'r [SignatureScheme],
    /// Without the feature there is no such key, and nothing that it leads to is linked.
    #[cfg(not(feature = "signatures"))]
    pub needs_the_feature_signatures: Infallible,
}

/// How a peer has to prove who it is.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum RemoteAuth<'r> {
    /// By knowing a secret.
    Psk(&'r [u8]),
    /// As a store of the caller's says: a database of peers that do not stand in the configuration (RFC 4301 section
    /// 4.4.3). Once an initiator has said who it is, the job [`LookUp`](crate::jobs::Job::LookUp) asks which entry counts
    /// for it, this one or another, and for its secret. Such an entry is for responders only, has no
    /// [`Peer::ppk`], and its [`Peer::remote_id`] is usually [`Identity::Any`]; those that only the store leads to come
    /// after it, and none of their PPKs is used: one that requires it lets nobody in.
    #[cfg(feature = "store")]
    Store,
    /// By a signature with the key of an X.509 certificate that contains its identity.
    Certificate {
        /// Whose certificates are believed: certificates in DER, of which name, key and name constraints count. They are
        /// named to the peer, at most sixteen of them.
        anchors: &'r [&'r [u8]],
        /// The signatures that it may make.
        schemes: &'r [SignatureScheme],
        /// Without the feature there is no such peer, and nothing that it leads to is linked.
        #[cfg(not(feature = "signatures"))]
        needs_the_feature_signatures: Infallible,
    },
    /// By a signature with this key (RFC 7670). The identity is then whatever the configuration says. This is also
    /// the way to trust a single certificate that it has signed itself: by its key.
    RawPublicKey {
        /// A SubjectPublicKeyInfo in DER.
        spki: &'r [u8],
        /// The signatures that it may make.
        schemes: &'r [SignatureScheme],
        /// Without the feature there is no such peer, and nothing that it leads to is linked.
        #[cfg(not(feature = "signatures"))]
        needs_the_feature_signatures: Infallible,
    },
    /// Of IKEv1: by its user alone, after we have signed by RSA (hybrid authentication,
    /// draft-ietf-ipsec-isakmp-hybrid-auth-05). It needs [`Xauth::Users`] or [`Xauth::Ask`]. The identity that it claims
    /// counts for nothing.
    #[cfg(feature = "ikev1")]
    User,
}

/// What a peer may sign with, as we would choose ourselves: without SHA-1. The older authentication methods are among
/// them, and with the feature `ikev1` those of IKEv1.
pub const SIGNATURE_SCHEMES: &[SignatureScheme] = &[
    SignatureScheme::Ed25519,
    SignatureScheme::Ecdsa(HashId::Sha256),
    SignatureScheme::Ecdsa(HashId::Sha384),
    SignatureScheme::Ecdsa(HashId::Sha512),
    SignatureScheme::RsaPss(HashId::Sha256),
    SignatureScheme::RsaPss(HashId::Sha384),
    SignatureScheme::RsaPss(HashId::Sha512),
    SignatureScheme::RsaPkcs1(HashId::Sha256),
    SignatureScheme::RsaPkcs1(HashId::Sha384),
    SignatureScheme::RsaPkcs1(HashId::Sha512),
    SignatureScheme::EcdsaRaw(Curve::P256),
    SignatureScheme::EcdsaRaw(Curve::P384),
    SignatureScheme::EcdsaRaw(Curve::P521),
    #[cfg(feature = "ikev1")]
    SignatureScheme::RsaIkev1,
    #[cfg(feature = "ikev1")]
    SignatureScheme::EcdsaIkev1(Curve::P256),
    #[cfg(feature = "ikev1")]
    SignatureScheme::EcdsaIkev1(Curve::P384),
    #[cfg(feature = "ikev1")]
    SignatureScheme::EcdsaIkev1(Curve::P521),
];

/// Algorithms for an IKE SA: any of the suites, with any of the functions, with any of the groups.
#[derive(Clone, Copy, Debug)]
pub struct IkeProposal<'r> {
    /// Protection of messages.
    pub suites: &'r [Suite],
    /// Pseudo-random functions.
    pub prfs: &'r [PrfId],
    /// Key exchanges. An initiator begins with the first.
    pub groups: &'r [Group],
    /// Key exchanges after that, all of which have to be broken to learn the keys (RFC 9370): for each, any of these
    /// groups, the preferred first; [`Group::NONE`] among them: it may be left out. At most [`MAX_ADDITIONAL`], none of a
    /// group that another one uses. `&[&[Group::ML_KEM_768]]` is safe from quantum computers, and
    /// `&[&[Group::ML_KEM_768, Group::NONE]]` is so with peers that know how.
    pub additional: &'r [&'r [Group]],
}

/// The most key exchanges after the first one.
pub const MAX_ADDITIONAL: usize = 3;

impl IkeProposal<'static> {
    /// What we would choose ourselves.
    pub const DEFAULT: &'static [Self] = &[Self {
        suites: &[
            Suite::AES_128_GCM,
            Suite::AES_256_GCM,
            Suite::CHACHA20_POLY1305,
            Suite::AES_128_CBC_SHA256,
            Suite::AES_256_CBC_SHA256,
        ],
        prfs: &[PrfId::HMAC_SHA2_256, PrfId::HMAC_SHA2_384, PrfId::HMAC_SHA2_512],
        groups: &[Group::X25519, Group::P256, Group::MODP_2048],
        additional: &[],
    }];
}

/// Algorithms for a child SA: any of the suites, with any of the groups.
#[derive(Clone, Copy, Debug)]
pub struct ChildProposal<'r> {
    /// Protection of packets: by ESP, or with [`Suite::ah`] by AH, which does not get through a NAT.
    pub suites: &'r [Suite],
    /// Key exchanges for perfect forward secrecy. Empty: none, new keys come from the IKE SA's.
    pub groups: &'r [Group],
    /// Key exchanges after that, as [`IkeProposal::additional`]; without [`ChildProposal::groups`], there are none.
    pub additional: &'r [&'r [Group]],
    /// Extended sequence numbers: use them, or do not. They need a [`Child::replay_window`]. Two proposals that differ
    /// in nothing else leave it to the other side; the first is preferred.
    pub esn: bool,
}

impl ChildProposal<'static> {
    /// What we would choose ourselves.
    pub const DEFAULT: &'static [Self] = &[Self {
        suites: &[
            Suite::AES_128_GCM,
            Suite::AES_256_GCM,
            Suite::CHACHA20_POLY1305,
            Suite::AES_128_CBC_SHA256,
            Suite::AES_256_CBC_SHA256,
        ],
        groups: &[],
        additional: &[],
        esn: false,
    }];
}

/// One tunnel to a peer.
#[derive(Clone, Copy)]
pub struct Child<'r> {
    /// For people.
    pub name: &'r str,
    /// Traffic of our side. At most [`MAX_SELECTORS`](ipsec_core::selector::MAX_SELECTORS).
    pub local: &'r [TrafficSelector],
    /// Traffic of the peer's side. At most [`MAX_SELECTORS`](ipsec_core::selector::MAX_SELECTORS).
    pub remote: &'r [TrafficSelector],
    /// Acceptable algorithms, in order of preference.
    pub proposals: &'r [ChildProposal<'r>],
    /// Of IKEv1: AH around ESP, as a bundle (RFC 2408 section 4.2), by any of these algorithms, in order of preference. What
    /// is not agreed with AH around it is then not agreed at all. ESP authenticates itself besides, and AH among
    /// [`Child::proposals`] is left out. It does not get through a NAT. Empty: no bundle.
    ///
    /// IKEv2 has no bundles (RFC 4301 dropped them), and does not look at it.
    #[cfg(feature = "ikev1")]
    pub around: &'r [Integ],
    /// When to rekey and when to stop; the soft time is shortened by a random tenth.
    pub lifetime: Lifetime,
    /// Size of the anti-replay window, in packets.
    pub replay_window: u32,
    /// Tunnel or transport mode.
    pub mode: ModePolicy,
    /// The outer header of tunnel mode. [`Tunnel::pad_to`] is ignored where the peer does not want such padding.
    pub tunnel: Tunnel,
    /// To how many bytes AH is padded over IPv4. Linux wants [`AhAlign::Eight`] where its SA has not the flag `align4`.
    pub ah_align: AhAlign,
    /// What of the selectors a child takes from the packet that asks for it (RFC 4301 section 4.4.1.2): several children
    /// then share the traffic.
    #[cfg(feature = "from_packet")]
    pub from_packet: FromPacket,
    /// How many such children there may be at once, of this side and of the peer's together. At least one.
    pub combinations: u16,
    /// Which packets of this side it is for, besides its selectors: several children with equal selectors may so share the
    /// traffic (RFC 4301 section 4.1).
    pub dscp: DscpSet,
}

impl<'r> Child<'r> {
    /// A tunnel between these networks, with usual settings.
    pub const fn new(
        name: &'r str,
        local: &'r [TrafficSelector],
        remote: &'r [TrafficSelector],
    ) -> Self {
        Self {
            name,
            local,
            remote,
            proposals: ChildProposal::DEFAULT,
            #[cfg(feature = "ikev1")]
            around: &[],
            lifetime: Lifetime {
                soft: Limits { time: Duration::from_secs(3600), ..Limits::NONE },
                hard: Limits { time: Duration::from_secs(3600 + 360), ..Limits::NONE },
            },
            replay_window: 64,
            mode: ModePolicy::Tunnel,
            tunnel: Tunnel::DEFAULT,
            ah_align: AhAlign::Standard,
            #[cfg(feature = "from_packet")]
            from_packet: FromPacket::NONE,
            combinations: 1,
            dscp: DscpSet::ANY,
        }
    }
}

impl Child<'_> {
    /// What of its selectors is taken from packets: nothing, without the feature `from_packet`.
    pub const fn takes_from_packet(&self) -> FromPacket {
        #[cfg(feature = "from_packet")]
        return self.from_packet;
        #[cfg(not(feature = "from_packet"))]
        FromPacket::NONE
    }
}

/// Whether a child protects whole packets, or what they carry between the two peers themselves (RFC 7296 section 1.3.1).
///
/// In transport mode, of [`Child::local`] and [`Child::remote`] only the two ends of the IKE SA are offered or accepted.
/// Behind a NAT these are the addresses that each side sees (RFC 7296 section 2.23.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ModePolicy {
    /// Tunnel mode, whatever the peer asks for.
    #[default]
    Tunnel,
    /// Transport mode if the peer wants it too; otherwise tunnel mode.
    PreferTransport,
    /// Transport mode or nothing.
    RequireTransport,
}

/// The retransmission of requests (RFC 7296 section 2.4): after `first`, then each time `3/2` longer, up to `longest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Retransmission {
    /// Wait this long before the first repetition.
    pub first: Duration,
    /// Never wait longer than this.
    pub longest: Duration,
    /// Give the peer up after so many repetitions.
    pub tries: u8,
}

impl Retransmission {
    /// From half a second to half a minute, for about two and a half minutes.
    pub const DEFAULT: Self =
        Self { first: Duration::from_millis(500), longest: Duration::from_secs(30), tries: 12 };
}
