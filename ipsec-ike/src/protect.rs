//! Sealing and opening the encrypted payload of a message in place (RFC 7296 section 3.14, RFC 5282 section 3).

use ipsec_core::bytes::{self, Writer};
use ipsec_core::crypto::suite::MAX_NONCE;
use ipsec_core::crypto::{CryptoError, Iv, PacketCipher, Provider, Shape, Suite, Work};

use crate::keymat::{IkeKeys, Role};
use crate::wire::SkLayout;

/// Encrypts the text of `message`, whose IV and ICV are filled in.
///
/// `counter` must never be the same twice for one sender and one set of keys, fragments included: it is the IV of
/// counter modes, and what the IV of others is made from. A message is sealed once; to repeat it, its bytes are
/// repeated.
pub(crate) fn seal<P: Provider>(
    keys: &IkeKeys,
    suite: Suite,
    sender: Role,
    counter: u64,
    layout: &SkLayout,
    message: &mut [u8],
) -> Result<(), CryptoError> {
    transform::<P>(keys, suite, sender, Some(counter), layout, message)
}

/// Verifies and decrypts the text of `message`, which `sender` sealed. If it is forged, its text is wiped.
pub(crate) fn open<P: Provider>(
    keys: &IkeKeys,
    suite: Suite,
    sender: Role,
    layout: &SkLayout,
    message: &mut [u8],
) -> Result<(), CryptoError> {
    transform::<P>(keys, suite, sender, None, layout, message)
}

/// Seals with a counter, opens without one.
///
/// The cipher is made for every message: an IKE SA is idle most of its life, and prepared keys are large.
#[inline(never)]
fn transform<P: Provider>(
    keys: &IkeKeys,
    suite: Suite,
    sender: Role,
    counter: Option<u64>,
    layout: &SkLayout,
    message: &mut [u8],
) -> Result<(), CryptoError> {
    let shape = suite.shape().ok_or(CryptoError::Unsupported)?;
    let (key, salt) =
        keys.encryption(sender).split_at_checked(shape.key_len).ok_or(CryptoError::Length)?;
    if salt.len() != shape.salt_len {
        return Err(CryptoError::Length);
    }
    let cipher = P::Cipher::new(suite, key, keys.integrity(sender))?;
    let parts = layout.parts(message).ok_or(CryptoError::Length)?;
    match (counter, shape.iv) {
        (None, _) => {}
        (Some(counter), Iv::Counter) => {
            bytes::copy(parts.iv, &counter.to_be_bytes()).ok_or(CryptoError::Length)?;
        }
        (Some(counter), Iv::Unpredictable) => cipher.unpredictable_iv(counter, parts.iv)?,
        (Some(_), Iv::None | Iv::Implicit) => return Err(CryptoError::Unsupported),
    }
    let mut room = [0; MAX_NONCE];
    let nonce = nonce(&shape, salt, parts.iv, &mut room).ok_or(CryptoError::Length)?;
    let work = Work { nonce, head: parts.head, text: parts.text, tail: &[], icv: parts.icv };
    if counter.is_some() { cipher.seal(work) } else { cipher.open(work) }
}

/// The salt, then the IV.
fn nonce<'n>(
    shape: &Shape,
    salt: &[u8],
    iv: &[u8],
    room: &'n mut [u8; MAX_NONCE],
) -> Option<&'n [u8]> {
    let mut w = Writer::new(room);
    w.bytes(salt)?;
    w.bytes(iv)?;
    let len = w.len();
    if iv.len() == shape.iv_len { room.get(..len) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keymat::{AuthKeys, Skeyseed};
    use crate::proposal::IkeChoice;
    use crate::wire::iana::{ExchangeType, Flags, NotifyType};
    use crate::wire::{Header, Message, MessageWriter, Notify, Payloads, strip_padding};
    use ipsec_core::crypto::{Encr, Group, Integ, PrfId};
    use ipsec_rustcrypto::RustCrypto;

    extern crate std;
    use std::vec::Vec;

    const SUITES: [Suite; 5] = [
        Suite::AES_128_GCM,
        Suite::AES_256_GCM,
        Suite::CHACHA20_POLY1305,
        Suite::AES_128_CBC_SHA256,
        Suite { encr: Encr::AES_CBC, key_bits: 192, integ: Integ::HMAC_SHA2_512_256 },
    ];

    fn keys(suite: Suite) -> IkeKeys {
        let (mut keys, mut auth) = (IkeKeys::EMPTY, AuthKeys::EMPTY);
        let prf = PrfId::HMAC_SHA2_256;
        let choice = IkeChoice { suite, prf, group: Group::X25519, ..IkeChoice::EMPTY };
        let skeyseed = Skeyseed::Initial { secret: b"shared" };
        keys.derive::<RustCrypto>(&mut auth, &choice, skeyseed, &[1; 16], &[2; 16], 3, 4).unwrap();
        keys
    }

    fn message(suite: Suite, buf: &mut [u8]) -> SkLayout {
        let header = Header::new(3, 4, ExchangeType::INFORMATIONAL, Flags::INITIATOR, 7);
        let writer = MessageWriter::new(buf, &header).unwrap();
        let mut sk = writer.begin_sk(&suite.shape().unwrap()).unwrap();
        sk.notify(&Notify::new(NotifyType::COOKIE2, b"some data")).unwrap();
        sk.finish().unwrap()
    }

    fn sealed(suite: Suite, counter: u64) -> Vec<u8> {
        let mut buf = [0; 200];
        let layout = message(suite, &mut buf);
        seal::<RustCrypto>(&keys(suite), suite, Role::Initiator, counter, &layout, &mut buf)
            .unwrap();
        buf[..layout.len()].to_vec()
    }

    fn open_as(suite: Suite, sender: Role, bytes: &mut [u8]) -> Result<SkLayout, CryptoError> {
        let encrypted = Message::parse(bytes).unwrap().collect().unwrap().encrypted.unwrap();
        let layout = encrypted.layout(bytes.len(), &suite.shape().unwrap()).unwrap();
        open::<RustCrypto>(&keys(suite), suite, sender, &layout, bytes).map(|()| layout)
    }

    #[test]
    fn what_was_sealed_opens() {
        for suite in SUITES {
            let mut bytes = sealed(suite, 1);
            let encrypted = Message::parse(&bytes).unwrap().collect().unwrap().encrypted.unwrap();
            let layout = open_as(suite, Role::Initiator, &mut bytes).unwrap();
            let inner = strip_padding(&bytes[layout.text()]).unwrap();
            let mut payloads = Payloads::inner(encrypted.first, inner);
            let notify = Notify::parse(payloads.next().unwrap().unwrap().body).unwrap();
            assert_eq!((notify.data, payloads.next()), (&b"some data"[..], None), "{suite}");
        }
    }

    /// RFC 7296 section 3.14: the checksum covers the message from the header to the end of the text.
    #[test]
    fn a_change_of_any_byte_is_noticed_and_wipes_the_text() {
        for suite in SUITES {
            let original = sealed(suite, 1);
            for at in 0..original.len() {
                // The first payload's type and both lengths lead elsewhere altogether.
                if matches!(at, 16 | 24..=27 | 30..=31) {
                    continue;
                }
                let mut bytes = original.clone();
                bytes[at] ^= 1;
                assert!(open_as(suite, Role::Initiator, &mut bytes).is_err(), "{suite} {at}");
                let encrypted =
                    Message::parse(&bytes).unwrap().collect().unwrap().encrypted.unwrap();
                let layout = encrypted.layout(bytes.len(), &suite.shape().unwrap()).unwrap();
                assert!(bytes[layout.text()].iter().all(|b| *b == 0));
            }
        }
    }

    #[test]
    fn a_message_reflected_to_its_sender_does_not_open() {
        for suite in SUITES {
            assert!(open_as(suite, Role::Responder, &mut sealed(suite, 1)).is_err(), "{suite}");
        }
    }

    /// RFC 5282 section 3.1: the IV of an AEAD is a counter. RFC 3602 section 3: that of CBC is not.
    #[test]
    fn every_message_has_its_own_iv() {
        for suite in SUITES {
            let layout = message(suite, &mut [0; 200]);
            let ivs = [1, 2].map(|counter| sealed(suite, counter)[layout.iv()].to_vec());
            assert_ne!(ivs[0], ivs[1]);
            let counts = ivs[0] == 1u64.to_be_bytes();
            assert_eq!(counts, suite.shape().unwrap().aead, "{suite}");
        }
    }

    #[test]
    fn keys_of_another_suite_do_not_fit() {
        let suite = Suite::AES_128_GCM;
        let mut buf = [0; 200];
        let layout = message(suite, &mut buf);
        for keys in [IkeKeys::EMPTY, keys(Suite::AES_256_GCM)] {
            let result = seal::<RustCrypto>(&keys, suite, Role::Initiator, 1, &layout, &mut buf);
            assert_eq!(result, Err(CryptoError::Length));
        }
        let short = &mut buf[..layout.len() - 1];
        let result = seal::<RustCrypto>(&keys(suite), suite, Role::Initiator, 1, &layout, short);
        assert_eq!(result, Err(CryptoError::Length));
    }
}
