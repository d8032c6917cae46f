//! The code points of IKEv1 by their IANA numbers: the registries "Internet Key Exchange (IKE) Attributes" and
//! "Internet Security Association and Key Management Protocol (ISAKMP) Identifiers", from RFC 2407, 2408 and 2409 and
//! what extends them.
//!
//! All are open sets: an unknown number can be carried, compared and printed. None of them is a number of IKEv2, so
//! they are types of their own.

use super::super::iana::code_points as iana;

/// The IPsec DOI (RFC 2407), the only one.
pub const DOI_IPSEC: u32 = 1;
/// SIT_IDENTITY_ONLY, the only situation that anybody uses (RFC 2407 section 4.2.1).
pub const SITUATION_IDENTITY_ONLY: u32 = 1;

iana! {
    /// An exchange type of the header (RFC 2408 section 3.1, RFC 2409 section 5).
    ExchangeType(u8) {
        /// Base: not used by IKE.
        BASE = 1;
        /// Main Mode.
        IDENTITY_PROTECTION = 2;
        /// Authentication only: not used by IKE.
        AUTHENTICATION_ONLY = 3;
        /// Aggressive Mode.
        AGGRESSIVE = 4;
        /// Notifies and deletes.
        INFORMATIONAL = 5;
        /// Mode Config and XAUTH.
        TRANSACTION = 6;
        /// Quick Mode.
        QUICK_MODE = 32;
        /// New Group Mode: not used by anybody.
        NEW_GROUP_MODE = 33;
    }
}

iana! {
    /// Flags of the header (RFC 2408 section 3.1).
    Flags(u8) {
        /// What follows the header is encrypted.
        ENCRYPTION = 1;
        /// The receiver waits for the notify CONNECTED before it uses the SA.
        COMMIT = 2;
        /// Authenticated and not encrypted.
        AUTHENTICATION_ONLY = 4;
    }
}

impl Flags {
    /// Whether all of these are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Both.
    pub const fn union(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }
}

iana! {
    /// A payload type (RFC 2408 section 3.1, RFC 3947 section 3.2).
    PayloadType(u8) {
        /// No payload: the end of a chain.
        NONE = 0;
        /// Security association.
        SA = 1;
        /// Proposal, within an SA.
        PROPOSAL = 2;
        /// Transform, within a proposal.
        TRANSFORM = 3;
        /// Key exchange.
        KE = 4;
        /// Identification.
        ID = 5;
        /// Certificate.
        CERT = 6;
        /// Certificate request.
        CERTREQ = 7;
        /// Hash.
        HASH = 8;
        /// Signature.
        SIG = 9;
        /// Nonce.
        NONCE = 10;
        /// Notification.
        NOTIFY = 11;
        /// Delete.
        DELETE = 12;
        /// Vendor ID.
        VENDOR_ID = 13;
        /// Attributes of Mode Config and XAUTH.
        ATTRIBUTES = 14;
        /// NAT discovery.
        NAT_D = 20;
        /// The original address before a NAT.
        NAT_OA = 21;
        /// NAT discovery in the drafts before RFC 3947.
        NAT_D_DRAFT = 130;
        /// The original address in the drafts before RFC 3947.
        NAT_OA_DRAFT = 131;
        /// A fragment of a message, of those who announce it by vendor ID.
        FRAGMENT = 132;
    }
}

iana! {
    /// A protocol that an SA is for (RFC 2407 section 4.4.1).
    ProtocolId(u8) {
        /// None: not registered, seen in notifies that are about no SA.
        NONE = 0;
        /// The ISAKMP SA itself.
        ISAKMP = 1;
        /// AH.
        AH = 2;
        /// ESP.
        ESP = 3;
        /// IP compression.
        IPCOMP = 4;
    }
}

iana! {
    /// A transform of phase 1 (RFC 2407 section 4.4.2).
    IsakmpTransform(u8) {
        /// IKE.
        KEY_IKE = 1;
    }
}

iana! {
    /// A transform of ESP (RFC 2407 section 4.4.4 and the registry).
    EspTransform(u8) {
        /// DES in CBC mode.
        DES = 2;
        /// Triple DES in CBC mode.
        DES3 = 3;
        /// No encryption.
        NULL = 11;
        /// AES in CBC mode (RFC 3602).
        AES_CBC = 12;
        /// AES in counter mode (RFC 3686).
        AES_CTR = 13;
        /// AES-CCM with an 8-byte ICV (RFC 4309).
        AES_CCM_8 = 14;
        /// AES-CCM with a 12-byte ICV.
        AES_CCM_12 = 15;
        /// AES-CCM with a 16-byte ICV.
        AES_CCM_16 = 16;
        /// AES-GCM with an 8-byte ICV (RFC 4106).
        AES_GCM_8 = 18;
        /// AES-GCM with a 12-byte ICV.
        AES_GCM_12 = 19;
        /// AES-GCM with a 16-byte ICV.
        AES_GCM_16 = 20;
        /// Integrity alone by AES-GMAC (RFC 4543).
        NULL_AUTH_AES_GMAC = 23;
    }
}

iana! {
    /// A transform of AH (RFC 2407 section 4.4.3 and the registry).
    AhTransform(u8) {
        /// MD5.
        MD5 = 2;
        /// SHA-1.
        SHA = 3;
        /// SHA2-256 (RFC 4868).
        SHA2_256 = 5;
        /// SHA2-384.
        SHA2_384 = 6;
        /// SHA2-512.
        SHA2_512 = 7;
        /// AES-XCBC (RFC 3566).
        AES_XCBC_MAC = 9;
        /// AES-GMAC with a 128-bit key (RFC 4543).
        AES_128_GMAC = 11;
        /// AES-GMAC with a 192-bit key.
        AES_192_GMAC = 12;
        /// AES-GMAC with a 256-bit key.
        AES_256_GMAC = 13;
    }
}

iana! {
    /// The attribute Authentication Algorithm of phase 2 (RFC 2407 section 4.5 and the registry).
    AuthAlgorithm(u16) {
        /// HMAC-MD5-96.
        HMAC_MD5 = 1;
        /// HMAC-SHA1-96.
        HMAC_SHA = 2;
        /// HMAC-SHA2-256-128 (RFC 4868).
        HMAC_SHA2_256 = 5;
        /// HMAC-SHA2-384-192.
        HMAC_SHA2_384 = 6;
        /// HMAC-SHA2-512-256.
        HMAC_SHA2_512 = 7;
        /// AES-XCBC-96 (RFC 3566).
        AES_XCBC_MAC = 9;
        /// AES-GMAC with a 128-bit key (RFC 4543).
        AES_128_GMAC = 11;
        /// AES-GMAC with a 192-bit key.
        AES_192_GMAC = 12;
        /// AES-GMAC with a 256-bit key.
        AES_256_GMAC = 13;
    }
}

iana! {
    /// An attribute of a transform of phase 1 (RFC 2409 appendix A).
    IkeAttribute(u16) {
        /// [`Cipher`].
        ENCRYPTION = 1;
        /// [`struct@Hash`].
        HASH = 2;
        /// [`AuthMethod`].
        AUTHENTICATION = 3;
        /// The number of a group.
        GROUP = 4;
        /// The kind of a group that is described in place.
        GROUP_TYPE = 5;
        /// [`LifeType`]; LIFE_DURATION follows.
        LIFE_TYPE = 11;
        /// In the unit of LIFE_TYPE.
        LIFE_DURATION = 12;
        /// A pseudo-random function other than HMAC of the hash: none is registered.
        PRF = 13;
        /// Key length in bits.
        KEY_LENGTH = 14;
    }
}

iana! {
    /// An attribute of a transform of phase 2 (RFC 2407 section 4.5).
    IpsecAttribute(u16) {
        /// [`LifeType`]; LIFE_DURATION follows.
        LIFE_TYPE = 1;
        /// In the unit of LIFE_TYPE.
        LIFE_DURATION = 2;
        /// The number of a group: perfect forward secrecy.
        GROUP = 3;
        /// [`Encapsulation`].
        ENCAPSULATION = 4;
        /// [`AuthAlgorithm`].
        AUTHENTICATION = 5;
        /// Key length in bits.
        KEY_LENGTH = 6;
        /// Rounds of a cipher.
        KEY_ROUNDS = 7;
        /// 64-bit sequence numbers (RFC 4304 section 2).
        ESN = 11;
    }
}

iana! {
    /// An encryption algorithm of phase 1 (RFC 2409 appendix A).
    Cipher(u16) {
        /// DES in CBC mode.
        DES_CBC = 1;
        /// IDEA in CBC mode.
        IDEA_CBC = 2;
        /// Blowfish in CBC mode.
        BLOWFISH_CBC = 3;
        /// RC5 in CBC mode.
        RC5_CBC = 4;
        /// Triple DES in CBC mode.
        DES3_CBC = 5;
        /// CAST in CBC mode.
        CAST_CBC = 6;
        /// AES in CBC mode, with a key length (RFC 3602 section 5.1).
        AES_CBC = 7;
        /// Camellia in CBC mode (RFC 4312).
        CAMELLIA_CBC = 8;
    }
}

iana! {
    /// A hash of phase 1, whose HMAC is the pseudo-random function (RFC 2409 appendix A).
    Hash(u16) {
        /// MD5.
        MD5 = 1;
        /// SHA-1.
        SHA = 2;
        /// Tiger.
        TIGER = 3;
        /// SHA2-256.
        SHA2_256 = 4;
        /// SHA2-384.
        SHA2_384 = 5;
        /// SHA2-512.
        SHA2_512 = 6;
    }
}

iana! {
    /// A method of authentication of phase 1 (RFC 2409 appendix A, RFC 4754, and the XAUTH and hybrid drafts).
    AuthMethod(u16) {
        /// Pre-shared key.
        PSK = 1;
        /// DSS signatures.
        DSS_SIGNATURES = 2;
        /// RSA signatures.
        RSA_SIGNATURES = 3;
        /// Encryption with RSA.
        RSA_ENCRYPTION = 4;
        /// Revised encryption with RSA.
        RSA_REVISED_ENCRYPTION = 5;
        /// ECDSA with SHA-256 on P-256 (RFC 4754).
        ECDSA_P256 = 9;
        /// ECDSA with SHA-384 on P-384.
        ECDSA_P384 = 10;
        /// ECDSA with SHA-512 on P-521.
        ECDSA_P521 = 11;
        /// The responder by an RSA signature, then the initiator by XAUTH.
        HYBRID_INIT_RSA = 64221;
        /// The same, where the initiator of phase 1 is the server.
        HYBRID_RESP_RSA = 64222;
        /// The responder by a DSS signature, then the initiator by XAUTH.
        HYBRID_INIT_DSS = 64223;
        /// The same, where the initiator of phase 1 is the server.
        HYBRID_RESP_DSS = 64224;
        /// Pre-shared key, then the initiator by XAUTH.
        XAUTH_INIT_PSK = 65001;
        /// The same, where the initiator of phase 1 is the server.
        XAUTH_RESP_PSK = 65002;
        /// DSS signatures, then the initiator by XAUTH.
        XAUTH_INIT_DSS = 65003;
        /// The same, where the initiator of phase 1 is the server.
        XAUTH_RESP_DSS = 65004;
        /// RSA signatures, then the initiator by XAUTH.
        XAUTH_INIT_RSA = 65005;
        /// The same, where the initiator of phase 1 is the server.
        XAUTH_RESP_RSA = 65006;
    }
}

impl AuthMethod {
    /// Whether SKEYID is made of a pre-shared key.
    pub const fn is_psk(self) -> bool {
        matches!(self, Self::PSK | Self::XAUTH_INIT_PSK | Self::XAUTH_RESP_PSK)
    }
}

iana! {
    /// The unit of a lifetime (RFC 2409 appendix A, RFC 2407 section 4.5).
    LifeType(u16) {
        /// Seconds.
        SECONDS = 1;
        /// Kilobytes.
        KILOBYTES = 2;
    }
}

iana! {
    /// Tunnel or transport, in UDP or not (RFC 2407 section 4.5, RFC 3947 section 5.1).
    Encapsulation(u16) {
        /// Tunnel mode.
        TUNNEL = 1;
        /// Transport mode.
        TRANSPORT = 2;
        /// Tunnel mode in UDP.
        UDP_TUNNEL = 3;
        /// Transport mode in UDP.
        UDP_TRANSPORT = 4;
        /// Tunnel mode in UDP, in the drafts before RFC 3947.
        UDP_TUNNEL_DRAFT = 61443;
        /// Transport mode in UDP, in the drafts before RFC 3947.
        UDP_TRANSPORT_DRAFT = 61444;
    }
}

impl Encapsulation {
    /// This mode with or without UDP, by the numbers of RFC 3947, or of the drafts before it.
    pub const fn of(transport: bool, udp: bool, draft: bool) -> Self {
        match (udp, draft, transport) {
            (false, _, false) => Self::TUNNEL,
            (false, _, true) => Self::TRANSPORT,
            (true, false, false) => Self::UDP_TUNNEL,
            (true, false, true) => Self::UDP_TRANSPORT,
            (true, true, false) => Self::UDP_TUNNEL_DRAFT,
            (true, true, true) => Self::UDP_TRANSPORT_DRAFT,
        }
    }

    /// Whether packets travel in UDP.
    pub const fn is_udp(self) -> bool {
        matches!(
            self,
            Self::UDP_TUNNEL
                | Self::UDP_TRANSPORT
                | Self::UDP_TUNNEL_DRAFT
                | Self::UDP_TRANSPORT_DRAFT
        )
    }

    /// Whether it is transport mode.
    pub const fn is_transport(self) -> bool {
        matches!(self, Self::TRANSPORT | Self::UDP_TRANSPORT | Self::UDP_TRANSPORT_DRAFT)
    }
}

iana! {
    /// A type of identification (RFC 2407 section 4.6.2.1).
    IdType(u8) {
        /// An IPv4 address.
        IPV4_ADDR = 1;
        /// A domain name.
        FQDN = 2;
        /// A mail address.
        USER_FQDN = 3;
        /// An IPv4 network: address and mask.
        IPV4_ADDR_SUBNET = 4;
        /// An IPv6 address.
        IPV6_ADDR = 5;
        /// An IPv6 network: address and mask.
        IPV6_ADDR_SUBNET = 6;
        /// The first and the last IPv4 address.
        IPV4_ADDR_RANGE = 7;
        /// The first and the last IPv6 address.
        IPV6_ADDR_RANGE = 8;
        /// A distinguished name in DER.
        DER_ASN1_DN = 9;
        /// A general name in DER.
        DER_ASN1_GN = 10;
        /// Opaque bytes.
        KEY_ID = 11;
    }
}

iana! {
    /// How a certificate is encoded (RFC 2408 section 3.9).
    CertEncoding(u8) {
        /// Certificates wrapped by PKCS #7.
        PKCS7 = 1;
        /// An X.509 certificate whose key verifies signatures, in DER.
        X509_SIGNATURE = 4;
        /// An X.509 certificate for key exchange.
        X509_KEY_EXCHANGE = 5;
        /// A certificate revocation list.
        CRL = 7;
    }
}

iana! {
    /// A notify message type (RFC 2408 section 3.14.1, RFC 2407 section 4.6.3, RFC 3706).
    NotifyType(u16) {
        /// A payload of unknown type.
        INVALID_PAYLOAD_TYPE = 1;
        /// Another DOI.
        DOI_NOT_SUPPORTED = 2;
        /// Another situation.
        SITUATION_NOT_SUPPORTED = 3;
        /// The cookies name no ISAKMP SA.
        INVALID_COOKIE = 4;
        /// The major version is not supported.
        INVALID_MAJOR_VERSION = 5;
        /// The minor version is not supported.
        INVALID_MINOR_VERSION = 6;
        /// The exchange type is not supported.
        INVALID_EXCHANGE_TYPE = 7;
        /// Unknown flags.
        INVALID_FLAGS = 8;
        /// An unexpected message ID.
        INVALID_MESSAGE_ID = 9;
        /// An unknown protocol.
        INVALID_PROTOCOL_ID = 10;
        /// An unknown SPI.
        INVALID_SPI = 11;
        /// An unknown transform.
        INVALID_TRANSFORM_ID = 12;
        /// Attributes of a transform that are not supported.
        ATTRIBUTES_NOT_SUPPORTED = 13;
        /// No proposal is acceptable.
        NO_PROPOSAL_CHOSEN = 14;
        /// A proposal that breaks the rules.
        BAD_PROPOSAL_SYNTAX = 15;
        /// A malformed payload: what a wrong pre-shared key looks like.
        PAYLOAD_MALFORMED = 16;
        /// A key-exchange value that is not acceptable.
        INVALID_KEY_INFORMATION = 17;
        /// An identification that is not acceptable.
        INVALID_ID_INFORMATION = 18;
        /// An unknown encoding of certificates.
        INVALID_CERT_ENCODING = 19;
        /// A certificate that is not believed.
        INVALID_CERTIFICATE = 20;
        /// A certificate of an unknown type.
        CERT_TYPE_UNSUPPORTED = 21;
        /// An unknown authority.
        INVALID_CERT_AUTHORITY = 22;
        /// A wrong HASH.
        INVALID_HASH_INFORMATION = 23;
        /// The proof is wrong.
        AUTHENTICATION_FAILED = 24;
        /// The signature is wrong.
        INVALID_SIGNATURE = 25;
        /// An address was notified.
        ADDRESS_NOTIFICATION = 26;
        /// The lifetime of an SA.
        NOTIFY_SA_LIFETIME = 27;
        /// No certificate can be had.
        CERTIFICATE_UNAVAILABLE = 28;
        /// An exchange type that is not supported.
        UNSUPPORTED_EXCHANGE_TYPE = 29;
        /// Lengths that do not add up.
        UNEQUAL_PAYLOAD_LENGTHS = 30;
        /// What the commit bit waits for.
        CONNECTED = 16384;
        /// The lifetime that the responder will use, where it is shorter than what was offered.
        RESPONDER_LIFETIME = 24576;
        /// Whether the responder does anti-replay.
        REPLAY_STATUS = 24577;
        /// The first SA between the two.
        INITIAL_CONTACT = 24578;
        /// Are you there? The data is a sequence number (RFC 3706 section 5.3).
        R_U_THERE = 36136;
        /// I am here, with the same number.
        R_U_THERE_ACK = 36137;
    }
}

impl NotifyType {
    /// Whether it reports an error (RFC 2408 section 3.14.1: 1 to 8191, and 8192 to 16383 of a DOI).
    pub const fn is_error(self) -> bool {
        self.0 != 0 && self.0 < 16384
    }
}

iana! {
    /// What an attributes payload is (the Mode Config draft).
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
    /// An attribute of Mode Config or XAUTH (the drafts on both).
    ConfigAttribute(u16) {
        /// An address of the inner network.
        INTERNAL_IP4_ADDRESS = 1;
        /// The netmask of that network.
        INTERNAL_IP4_NETMASK = 2;
        /// A name server.
        INTERNAL_IP4_DNS = 3;
        /// A NetBIOS name server.
        INTERNAL_IP4_NBNS = 4;
        /// Seconds for which the address may be used.
        INTERNAL_ADDRESS_EXPIRY = 5;
        /// A DHCP server.
        INTERNAL_IP4_DHCP = 6;
        /// The version of the sender's program.
        APPLICATION_VERSION = 7;
        /// An IPv6 address.
        INTERNAL_IP6_ADDRESS = 8;
        /// An IPv6 name server.
        INTERNAL_IP6_DNS = 10;
        /// A network that the sender protects.
        INTERNAL_IP4_SUBNET = 13;
        /// [`XauthType`] of what is asked for.
        XAUTH_TYPE = 16520;
        /// The user's name.
        XAUTH_USER_NAME = 16521;
        /// The user's password.
        XAUTH_USER_PASSWORD = 16522;
        /// A one-time code.
        XAUTH_PASSCODE = 16523;
        /// Words for the user.
        XAUTH_MESSAGE = 16524;
        /// A challenge.
        XAUTH_CHALLENGE = 16525;
        /// A domain of users.
        XAUTH_DOMAIN = 16526;
        /// 1: accepted; 0: refused.
        XAUTH_STATUS = 16527;
        /// The next PIN.
        XAUTH_NEXT_PIN = 16528;
        /// What is asked again.
        XAUTH_ANSWER = 16529;
        /// Words for the user, of Cisco Unity.
        UNITY_BANNER = 28672;
        /// Whether the password may be kept, of Cisco Unity.
        UNITY_SAVE_PASSWORD = 28673;
        /// The default domain, of Cisco Unity.
        UNITY_DEF_DOMAIN = 28674;
        /// Networks that go through the tunnel, of Cisco Unity.
        UNITY_SPLIT_INCLUDE = 28676;
    }
}

iana! {
    /// How a user is authenticated by XAUTH.
    XauthType(u16) {
        /// A name and a password.
        GENERIC = 0;
        /// A RADIUS challenge.
        RADIUS_CHAP = 1;
        /// A one-time password.
        OTP = 2;
        /// S/KEY.
        S_KEY = 3;
    }
}
