//! The code points of IKEv2 by their IANA numbers ("Internet Key Exchange Version 2 (IKEv2) Parameters").
//!
//! All are open sets: an unknown number can be carried, compared and printed. Algorithms are in
//! [`ipsec_core::crypto`].

macro_rules! iana {
    ($(#[$doc:meta])* $name:ident($repr:ty) { $($(#[$item_doc:meta])* $item:ident = $value:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        pub struct $name(pub $repr);

        impl $name {
            $($(#[$item_doc])* pub const $item: Self = Self($value);)*

            /// The name in the registry, if the number is known.
            pub const fn name(self) -> Option<&'static str> {
                match self { $(Self::$item => Some(stringify!($item)),)* _ => None }
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(self, f)
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}({})", stringify!($name), self.0),
                }
            }
        }
    };
}

#[cfg(feature = "ikev1")]
pub(super) use iana as code_points;

iana! {
    /// An exchange type of the IKE header (RFC 7296 section 3.1).
    ExchangeType(u8) {
        /// The first exchange: proposals, key exchange, nonces.
        IKE_SA_INIT = 34;
        /// The second: identities, authentication, the first child SA.
        IKE_AUTH = 35;
        /// A new child SA, or the rekeying of a child or IKE SA.
        CREATE_CHILD_SA = 36;
        /// Deletes, notifies, liveness.
        INFORMATIONAL = 37;
        /// Resumption from a ticket (RFC 5723).
        IKE_SESSION_RESUME = 38;
        /// Between IKE_SA_INIT and IKE_AUTH (RFC 9242).
        IKE_INTERMEDIATE = 43;
        /// Further key exchanges after CREATE_CHILD_SA (RFC 9370).
        IKE_FOLLOWUP_KE = 44;
    }
}

iana! {
    /// A payload type (RFC 7296 section 3.2).
    PayloadType(u8) {
        /// No payload: the end of a chain.
        NONE = 0;
        /// Security association.
        SA = 33;
        /// Key exchange.
        KE = 34;
        /// Identification of the initiator.
        IDI = 35;
        /// Identification of the responder.
        IDR = 36;
        /// Certificate.
        CERT = 37;
        /// Certificate request.
        CERTREQ = 38;
        /// Authentication.
        AUTH = 39;
        /// Nonce.
        NONCE = 40;
        /// Notify.
        NOTIFY = 41;
        /// Delete.
        DELETE = 42;
        /// Vendor ID.
        VENDOR_ID = 43;
        /// Traffic selectors of the initiator.
        TSI = 44;
        /// Traffic selectors of the responder.
        TSR = 45;
        /// Encrypted and authenticated.
        SK = 46;
        /// Configuration.
        CP = 47;
        /// Extensible authentication.
        EAP = 48;
        /// Encrypted and authenticated fragment (RFC 7383).
        SKF = 53;
        /// Puzzle solution (RFC 8019).
        PS = 54;
    }
}

impl PayloadType {
    /// Whether the type is one that every implementation recognises (RFC 7296 section 3.2), or an encrypted fragment.
    /// The critical bit of such a payload is ignored (RFC 7296 section 2.5).
    pub const fn is_known(self) -> bool {
        matches!(self.0, 33..=48 | 53)
    }

    /// Whether this is [`PayloadType::SK`] or [`PayloadType::SKF`].
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::SK | Self::SKF)
    }
}

iana! {
    /// What a configuration payload is (RFC 7296 section 3.15).
    ConfigType(u8) {
        /// Asks for attributes.
        REQUEST = 1;
        /// Gives what was asked for.
        REPLY = 2;
        /// Tells attributes unasked.
        SET = 3;
        /// Takes what was told.
        ACK = 4;
    }
}

iana! {
    /// An attribute of a configuration payload (RFC 7296 section 3.15.1).
    ConfigAttribute(u16) {
        /// An address of the inner network.
        INTERNAL_IP4_ADDRESS = 1;
        /// The netmask of that network.
        INTERNAL_IP4_NETMASK = 2;
        /// A name server.
        INTERNAL_IP4_DNS = 3;
        /// A NetBIOS name server.
        INTERNAL_IP4_NBNS = 4;
        /// A DHCP server.
        INTERNAL_IP4_DHCP = 6;
        /// The version of the sender's program.
        APPLICATION_VERSION = 7;
        /// An address of the inner network, and a prefix length.
        INTERNAL_IP6_ADDRESS = 8;
        /// A name server.
        INTERNAL_IP6_DNS = 10;
        /// A DHCP server.
        INTERNAL_IP6_DHCP = 12;
        /// A network that the sender protects.
        INTERNAL_IP4_SUBNET = 13;
        /// The attributes that the sender knows.
        SUPPORTED_ATTRIBUTES = 14;
        /// A network that the sender protects.
        INTERNAL_IP6_SUBNET = 15;
        /// A domain whose names the inner name servers know (RFC 8598).
        INTERNAL_DNS_DOMAIN = 25;
        /// A trust anchor of such a domain (RFC 8598).
        INTERNAL_DNSSEC_TA = 26;
    }
}

iana! {
    /// A protocol that an SA is for (RFC 7296 section 3.3.1).
    ProtocolId(u8) {
        /// None: a notify that is about no SA in particular.
        NONE = 0;
        /// IKE.
        IKE = 1;
        /// AH.
        AH = 2;
        /// ESP.
        ESP = 3;
    }
}

iana! {
    /// A transform type (RFC 7296 section 3.3.2).
    TransformType(u8) {
        /// Encryption algorithm.
        ENCR = 1;
        /// Pseudo-random function.
        PRF = 2;
        /// Integrity algorithm.
        INTEG = 3;
        /// Key-exchange method.
        KE = 4;
        /// Extended sequence numbers.
        ESN = 5;
        /// First additional key exchange (RFC 9370).
        ADDKE1 = 6;
        /// Second additional key exchange.
        ADDKE2 = 7;
        /// Third additional key exchange.
        ADDKE3 = 8;
        /// Fourth additional key exchange.
        ADDKE4 = 9;
        /// Fifth additional key exchange.
        ADDKE5 = 10;
        /// Sixth additional key exchange.
        ADDKE6 = 11;
        /// Seventh additional key exchange.
        ADDKE7 = 12;
    }
}

iana! {
    /// Sequence numbers: the ids of transform type 5.
    EsnId(u16) {
        /// 32-bit sequence numbers.
        NO_ESN = 0;
        /// 64-bit sequence numbers, half of each sent.
        ESN = 1;
    }
}

iana! {
    /// A transform attribute (RFC 7296 section 3.3.5).
    AttributeType(u16) {
        /// Key length in bits.
        KEY_LENGTH = 14;
    }
}

iana! {
    /// A type of identification (RFC 7296 section 3.5).
    IdType(u8) {
        /// An IPv4 address.
        IPV4_ADDR = 1;
        /// A domain name.
        FQDN = 2;
        /// A mail address.
        RFC822_ADDR = 3;
        /// An IPv6 address.
        IPV6_ADDR = 5;
        /// A distinguished name in DER.
        DER_ASN1_DN = 9;
        /// A general name in DER.
        DER_ASN1_GN = 10;
        /// Opaque bytes.
        KEY_ID = 11;
        /// Nobody (RFC 7619).
        NULL = 13;
    }
}

iana! {
    /// A method of authentication (RFC 7296 section 3.8).
    AuthMethod(u8) {
        /// RSA with PKCS #1 padding.
        RSA_SIGNATURE = 1;
        /// A pre-shared key, or the key that EAP gave.
        SHARED_KEY = 2;
        /// DSS with SHA-1.
        DSS_SIGNATURE = 3;
        /// ECDSA with P-256 and SHA-256 (RFC 4754).
        ECDSA_P256_SHA256 = 9;
        /// ECDSA with P-384 and SHA-384.
        ECDSA_P384_SHA384 = 10;
        /// ECDSA with P-521 and SHA-512.
        ECDSA_P521_SHA512 = 11;
        /// None (RFC 7619).
        NULL = 13;
        /// Any signature, named by its AlgorithmIdentifier (RFC 7427).
        DIGITAL_SIGNATURE = 14;
    }
}

iana! {
    /// How a certificate is encoded (RFC 7296 section 3.6).
    CertEncoding(u8) {
        /// An X.509 certificate whose key verifies the AUTH payload, in DER.
        X509_SIGNATURE = 4;
        /// A certificate revocation list.
        CRL = 7;
        /// Hash and URL of an X.509 certificate.
        HASH_AND_URL = 12;
        /// Hash and URL of a bundle of certificates.
        HASH_AND_URL_BUNDLE = 13;
        /// A SubjectPublicKeyInfo in DER (RFC 7670).
        RAW_PUBLIC_KEY = 15;
    }
}

iana! {
    /// A hash for digital signatures (RFC 7427 section 4).
    HashAlgorithm(u16) {
        /// SHA-1.
        SHA1 = 1;
        /// SHA2-256.
        SHA2_256 = 2;
        /// SHA2-384.
        SHA2_384 = 3;
        /// SHA2-512.
        SHA2_512 = 4;
        /// None: the signature hashes by itself (RFC 8420).
        IDENTITY = 5;
    }
}

iana! {
    /// A type of traffic selector (RFC 7296 section 3.13.1).
    TsType(u8) {
        /// A range of IPv4 addresses.
        IPV4_ADDR_RANGE = 7;
        /// A range of IPv6 addresses.
        IPV6_ADDR_RANGE = 8;
        /// A Fibre Channel range (RFC 4595).
        FC_ADDR_RANGE = 9;
        /// A security label (RFC 9478).
        SECLABEL = 10;
    }
}

iana! {
    /// A notify message type (RFC 7296 section 3.10.1).
    NotifyType(u16) {
        /// A payload of unknown type was critical; the data is the type.
        UNSUPPORTED_CRITICAL_PAYLOAD = 1;
        /// The SPIs of the header name no IKE SA.
        INVALID_IKE_SPI = 4;
        /// The major version is not supported; the reply's header says which is.
        INVALID_MAJOR_VERSION = 5;
        /// The message was malformed.
        INVALID_SYNTAX = 7;
        /// A message ID outside the window.
        INVALID_MESSAGE_ID = 9;
        /// An ESP or AH packet with an unknown SPI; the data is the SPI.
        INVALID_SPI = 11;
        /// No proposal was acceptable.
        NO_PROPOSAL_CHOSEN = 14;
        /// The KE payload is of another group than the chosen one; the data is the chosen group.
        INVALID_KE_PAYLOAD = 17;
        /// Authentication failed.
        AUTHENTICATION_FAILED = 24;
        /// Only a single pair of addresses is acceptable.
        SINGLE_PAIR_REQUIRED = 34;
        /// No more child SAs on this IKE SA.
        NO_ADDITIONAL_SAS = 35;
        /// No internal address could be assigned.
        INTERNAL_ADDRESS_FAILURE = 36;
        /// A configuration request was expected.
        FAILED_CP_REQUIRED = 37;
        /// None of the traffic selectors is acceptable.
        TS_UNACCEPTABLE = 38;
        /// A packet on an SA did not match its selectors.
        INVALID_SELECTORS = 39;
        /// The addresses of a MOBIKE update are not acceptable (RFC 4555).
        UNACCEPTABLE_ADDRESSES = 40;
        /// A NAT where none is allowed (RFC 4555).
        UNEXPECTED_NAT_DETECTED = 41;
        /// The request cannot be done now: something else is being rekeyed or closed.
        TEMPORARY_FAILURE = 43;
        /// The child SA to be rekeyed does not exist.
        CHILD_SA_NOT_FOUND = 44;
        /// The state of a further key exchange does not exist (RFC 9370).
        STATE_NOT_FOUND = 47;
        /// This is the only IKE SA between the two identities.
        INITIAL_CONTACT = 16384;
        /// How many requests may be outstanding.
        SET_WINDOW_SIZE = 16385;
        /// The selectors were narrowed, and others might be acceptable on another child SA.
        ADDITIONAL_TS_POSSIBLE = 16386;
        /// IPComp is possible.
        IPCOMP_SUPPORTED = 16387;
        /// Hash of SPIs, address and port of the sender.
        NAT_DETECTION_SOURCE_IP = 16388;
        /// Hash of SPIs, address and port of the receiver.
        NAT_DETECTION_DESTINATION_IP = 16389;
        /// A cookie to be returned.
        COOKIE = 16390;
        /// Transport mode is asked for, or agreed to.
        USE_TRANSPORT_MODE = 16391;
        /// Certificates may be sent as URLs.
        HTTP_CERT_LOOKUP_SUPPORTED = 16392;
        /// The SA of this SPI is being rekeyed.
        REKEY_SA = 16393;
        /// No traffic-flow-confidentiality padding.
        ESP_TFC_PADDING_NOT_SUPPORTED = 16394;
        /// Fragments after the first may be sent over this SA.
        NON_FIRST_FRAGMENTS_ALSO = 16395;
        /// MOBIKE (RFC 4555).
        MOBIKE_SUPPORTED = 16396;
        /// Another IPv4 address of the sender.
        ADDITIONAL_IP4_ADDRESS = 16397;
        /// Another IPv6 address of the sender.
        ADDITIONAL_IP6_ADDRESS = 16398;
        /// The sender has no other address.
        NO_ADDITIONAL_ADDRESSES = 16399;
        /// Move the SAs to the addresses of this packet.
        UPDATE_SA_ADDRESSES = 16400;
        /// A return-routability cookie.
        COOKIE2 = 16401;
        /// NATs are not allowed.
        NO_NATS_ALLOWED = 16402;
        /// Authentication expires after so many seconds (RFC 4478).
        AUTH_LIFETIME = 16403;
        /// More than one authentication is possible (RFC 4739).
        MULTIPLE_AUTH_SUPPORTED = 16404;
        /// Another authentication follows (RFC 4739).
        ANOTHER_AUTH_FOLLOWS = 16405;
        /// Redirection is understood (RFC 5685).
        REDIRECT_SUPPORTED = 16406;
        /// Go to another gateway.
        REDIRECT = 16407;
        /// Redirected by this gateway.
        REDIRECTED_FROM = 16408;
        /// A resumption ticket and its lifetime (RFC 5723).
        TICKET_LT_OPAQUE = 16409;
        /// A ticket is asked for.
        TICKET_REQUEST = 16410;
        /// A ticket will come.
        TICKET_ACK = 16411;
        /// No ticket will come.
        TICKET_NACK = 16412;
        /// A ticket is presented.
        TICKET_OPAQUE = 16413;
        /// The responder may authenticate by EAP alone (RFC 5998).
        EAP_ONLY_AUTHENTICATION = 16417;
        /// IKE SAs without a child are understood (RFC 6023).
        CHILDLESS_IKEV2_SUPPORTED = 16418;
        /// A token of quick crash detection (RFC 6290).
        QUICK_CRASH_DETECTION = 16419;
        /// Message IDs can be synchronised after a failover (RFC 6311).
        IKEV2_MESSAGE_ID_SYNC_SUPPORTED = 16420;
        /// IKE fragments are understood (RFC 7383).
        IKEV2_FRAGMENTATION_SUPPORTED = 16430;
        /// Hashes for digital signatures (RFC 7427).
        SIGNATURE_HASH_ALGORITHMS = 16431;
        /// A puzzle to be solved (RFC 8019).
        PUZZLE = 16434;
        /// Post-quantum pre-shared keys are possible (RFC 8784).
        USE_PPK = 16435;
        /// The identity of the post-quantum pre-shared key.
        PPK_IDENTITY = 16436;
        /// AUTH without the post-quantum pre-shared key.
        NO_PPK_AUTH = 16437;
        /// IKE_INTERMEDIATE is understood (RFC 9242).
        INTERMEDIATE_EXCHANGE_SUPPORTED = 16438;
        /// Links a further key exchange to its CREATE_CHILD_SA (RFC 9370).
        ADDITIONAL_KEY_EXCHANGE = 16441;
        /// Aggregation and fragmentation of ESP (RFC 9347).
        USE_AGGFRAG = 16442;
        /// Authentication methods that the sender accepts (RFC 9593).
        SUPPORTED_AUTH_METHODS = 16443;
    }
}

impl NotifyType {
    /// Whether this reports an error: an unknown one in a response means that the request failed, an unknown status is
    /// ignored (RFC 7296 section 3.10.1).
    pub const fn is_error(self) -> bool {
        self.0 < 16384
    }
}

/// The flags of the IKE header (RFC 7296 section 3.1). Unknown bits are carried and ignored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Flags(pub u8);

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// The sender is the original initiator of this IKE SA.
    pub const INITIATOR: Self = Self(0x08);
    /// The sender could speak a higher major version.
    pub const VERSION: Self = Self(0x10);
    /// The message is a response.
    pub const RESPONSE: Self = Self(0x20);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl core::fmt::Debug for Flags {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Flags({:#04x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::string::ToString;

    #[test]
    fn names_are_those_of_the_registry() {
        assert_eq!(NotifyType::TS_UNACCEPTABLE.to_string(), "TS_UNACCEPTABLE");
        assert_eq!(NotifyType(40_000).to_string(), "NotifyType(40000)");
        assert_eq!(PayloadType(200).name(), None);
        assert_eq!(ExchangeType::IKE_AUTH.name(), Some("IKE_AUTH"));
    }

    /// RFC 7296 section 3.10.1: types below 16384 are errors.
    #[test]
    fn errors_end_where_statuses_begin() {
        assert!(NotifyType(16383).is_error() && NotifyType::NO_PROPOSAL_CHOSEN.is_error());
        assert!(!NotifyType::INITIAL_CONTACT.is_error());
    }

    /// RFC 7296 section 3.2: types below 33 belong to IKEv1 and are not known here.
    #[test]
    fn payloads_of_other_versions_are_unknown() {
        assert!((1..33).all(|t| !PayloadType(t).is_known()));
        assert!((33..=48).all(|t| PayloadType(t).is_known()));
        assert!(PayloadType::SKF.is_known() && !PayloadType::PS.is_known());
    }
}
