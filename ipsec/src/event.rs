//! What a gateway tells its program. Installing, switching and removing SAs is done already when it is told.

use ipsec_core::bytes;
#[cfg(feature = "ikev1")]
use ipsec_core::crypto::Integ;
use ipsec_core::crypto::Suite;
use ipsec_core::crypto::suite::{MAX_KEYMAT, MAX_SALT};
use ipsec_core::path::Path;
use ipsec_core::sa::{Algorithms, Encapsulation, SaParams, Spi};
use ipsec_core::sad::InstallError;
#[cfg(feature = "ikev1")]
use ipsec_ike::event::AhParams;
use ipsec_ike::event::{
    ChildAgreed, ChildId, ChildRef, Direction, DownReason, Failure, Given, IkeAgreed, IkeId,
};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::manual::ManualId;

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum GatewayEvent {
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
    /// The peer has given us an address, name servers, or both, which we asked for.
    Configured {
        /// The IKE SA.
        ike: IkeId,
        /// The peer's number in the configuration.
        peer: u16,
        /// What it gave.
        given: Given,
    },
    /// An IKE SA replaces another one, and has its children.
    IkeRekeyed {
        /// The new IKE SA.
        ike: IkeId,
        /// The old one.
        replaces: IkeId,
        /// The peer's number in the configuration.
        peer: u16,
        /// What was agreed.
        agreed: IkeAgreed,
    },
    /// An IKE SA is gone. Its children have been told before.
    IkeDown {
        /// The IKE SA.
        ike: IkeId,
        /// The peer's number in the configuration.
        peer: u16,
        /// Why.
        reason: DownReason,
    },
    /// A child SA is up: its tunnel carries traffic.
    ChildUp {
        /// The child.
        child: ChildId,
        /// Its configuration.
        config: ChildRef,
        /// The IKE SA it belongs to.
        ike: IkeId,
        /// Where its packets go.
        path: Path,
        /// What was agreed.
        agreed: ChildAgreed,
    },
    /// A child SA replaces another one, which stays until both sides have gone over.
    ChildRekeyed {
        /// The new child.
        child: ChildId,
        /// The old one.
        replaces: ChildId,
        /// Its configuration.
        config: ChildRef,
        /// The IKE SA it belongs to.
        ike: IkeId,
        /// Where its packets go.
        path: Path,
        /// What was agreed.
        agreed: ChildAgreed,
    },
    /// A child SA is gone.
    ChildDown {
        /// The child.
        child: ChildId,
        /// Its configuration.
        config: ChildRef,
        /// Why.
        reason: DownReason,
        /// Whether another child SA carries the tunnel on.
        tunnel_up: bool,
    },
    /// The peer is at another endpoint.
    ChildMoved {
        /// The child.
        child: ChildId,
        /// Its configuration.
        config: ChildRef,
        /// Its path now.
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
        /// What, and what each side wanted.
        failure: Failure,
    },
    /// An SA could not be installed. The peer is told, and the negotiation fails.
    InstallFailed {
        /// The child.
        child: ChildId,
        /// Which of its SAs.
        direction: Direction,
        /// Why.
        error: InstallError,
    },
    /// SAs with manual keys have reached a limit. After a hard one, nothing goes through them any more, and packets that
    /// leave go to the SAs that were installed before them for the same policy.
    ManualLimit {
        /// The SAs.
        id: ManualId,
        /// Their policy's place in the configuration.
        policy: u16,
        /// Whether it was a hard limit, not a soft one.
        hard: bool,
    },
    /// The keys of an IKE SA; only with [`Config::key_log`](ipsec_ike::config::Config::key_log).
    IkeKeys(IkeKeysLog),
    /// The keys of one SA of a child; only with [`Config::key_log`](ipsec_ike::config::Config::key_log).
    EspKeys(EspKeysLog),
}

/// The longest encryption key with its salt.
const MAX_ENCRYPTION: usize = 32 + MAX_SALT;
/// The longest integrity key.
const MAX_INTEGRITY: usize = 64;

/// The keys of an IKE SA: what `ikev2_decryption_table` of Wireshark wants. Wiped when dropped, and not in `Debug`.
#[derive(Clone)]
pub struct IkeKeysLog {
    /// The initiator's SPI.
    pub initiator_spi: u64,
    /// The responder's SPI.
    pub responder_spi: u64,
    /// The protection of messages.
    pub suite: Suite,
    encryption: (Key<MAX_ENCRYPTION>, Key<MAX_ENCRYPTION>),
    integrity: (Key<MAX_INTEGRITY>, Key<MAX_INTEGRITY>),
}

impl IkeKeysLog {
    /// Of the engine's event.
    pub(crate) fn new(
        initiator_spi: u64,
        responder_spi: u64,
        suite: Suite,
        encryption: (&[u8], &[u8]),
        integrity: (&[u8], &[u8]),
    ) -> Self {
        Self {
            initiator_spi,
            responder_spi,
            suite,
            encryption: (Key::new(encryption.0), Key::new(encryption.1)),
            integrity: (Key::new(integrity.0), Key::new(integrity.1)),
        }
    }

    /// SK_ei, with its salt.
    pub fn encryption_i(&self) -> &[u8] {
        self.encryption.0.bytes()
    }

    /// SK_er, with its salt.
    pub fn encryption_r(&self) -> &[u8] {
        self.encryption.1.bytes()
    }

    /// SK_ai, empty for an AEAD. Of IKEv1, SKEYID_a.
    pub fn integrity_i(&self) -> &[u8] {
        self.integrity.0.bytes()
    }

    /// SK_ar, empty for an AEAD. Of IKEv1, SKEYID_a.
    pub fn integrity_r(&self) -> &[u8] {
        self.integrity.1.bytes()
    }
}

impl core::fmt::Debug for IkeKeysLog {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "IkeKeysLog({:016x} {:016x})", self.initiator_spi, self.responder_spi)
    }
}

/// The keys of an SA: what `esp_sa` of Wireshark wants. Wiped when dropped, and not in `Debug`.
#[derive(Clone)]
pub struct EspKeysLog {
    /// Which child.
    pub child: ChildId,
    /// Whether we receive or send on it.
    pub direction: Direction,
    /// The SPI.
    pub spi: Spi,
    /// Our endpoint and the peer's, whichever the direction; ports are 0 without UDP.
    pub path: Path,
    /// Whether ESP travels in UDP.
    pub encapsulation: Encapsulation,
    /// The protection of packets.
    pub suite: Suite,
    /// Of a bundle: AH around it.
    #[cfg(feature = "ikev1")]
    pub around: Option<AhKeysLog>,
    keymat: Key<MAX_KEYMAT>,
}

/// The key of AH around ESP. Wiped when dropped, and not in `Debug`.
#[cfg(feature = "ikev1")]
#[derive(Clone)]
pub struct AhKeysLog {
    /// The SPI.
    pub spi: Spi,
    /// The algorithm.
    pub integ: Integ,
    key: Key<MAX_INTEGRITY>,
}

#[cfg(feature = "ikev1")]
impl AhKeysLog {
    /// The key.
    pub fn key(&self) -> &[u8] {
        self.key.bytes()
    }
}

#[cfg(feature = "ikev1")]
impl core::fmt::Debug for AhKeysLog {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "AhKeysLog({})", self.spi)
    }
}

impl EspKeysLog {
    /// Of what was installed; `None` if it was not ESP.
    pub(crate) fn new(child: ChildId, direction: Direction, params: &SaParams<'_>) -> Option<Self> {
        let Algorithms::Esp(suite) = params.protection else { return None };
        Some(Self {
            child,
            direction,
            spi: params.spi,
            path: params.path,
            encapsulation: params.encapsulation,
            suite,
            #[cfg(feature = "ikev1")]
            around: None,
            keymat: Key::new(params.keymat),
        })
    }

    /// Of both SAs of a bundle.
    #[cfg(feature = "ikev1")]
    pub(crate) fn of_bundle(
        child: ChildId,
        direction: Direction,
        params: &SaParams<'_>,
        around: &AhParams<'_>,
    ) -> Option<Self> {
        let Algorithms::Ah(integ, _) = around.protection else { return None };
        let ah = AhKeysLog { spi: around.spi, integ, key: Key::new(around.keymat) };
        Some(Self { around: Some(ah), ..Self::new(child, direction, params)? })
    }

    /// The encryption key, with its salt.
    pub fn encryption(&self) -> &[u8] {
        self.split().0
    }

    /// The integrity key, empty for an AEAD.
    pub fn integrity(&self) -> &[u8] {
        self.split().1
    }

    fn split(&self) -> (&[u8], &[u8]) {
        let encryption = self.suite.shape().map_or(0, |s| s.key_len.saturating_add(s.salt_len));
        self.keymat.bytes().split_at_checked(encryption).unwrap_or_default()
    }
}

impl core::fmt::Debug for EspKeysLog {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "EspKeysLog({:?} {})", self.direction, self.spi)
    }
}

/// A key of at most `N` bytes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Key<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Key<N> {
    /// A key that is longer is cut.
    fn new(key: &[u8]) -> Self {
        let key = key.get(..N).unwrap_or(key);
        let mut bytes = [0; N];
        let len = bytes::copy_prefix(&mut bytes, key).map_or(0, |()| key.len());
        Self { bytes, len }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;

    use super::*;

    #[test]
    fn no_key_is_shown() {
        let keys =
            IkeKeysLog::new(1, 2, Suite::AES_128_GCM, (&[0xaa; 20], &[0xbb; 20]), (&[], &[]));
        assert_eq!(format!("{keys:?}"), "IkeKeysLog(0000000000000001 0000000000000002)");
        assert_eq!((keys.encryption_i(), keys.encryption_r()), (&[0xaa; 20][..], &[0xbb; 20][..]));
        assert_eq!((keys.integrity_i(), keys.integrity_r()), (&[][..], &[][..]));
    }

    #[test]
    fn a_key_is_wiped() {
        let mut key = Key::<8>::new(&[7; 5]);
        assert_eq!(key.bytes(), [7; 5]);
        key.zeroize();
        assert_eq!((key.bytes, key.len), ([0; 8], 0));
    }
}
