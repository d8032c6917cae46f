//! Somebody who has the keys of an SA of IKEv1, and has heard everything that was said under it.

use std::vec;
use std::vec::Vec;

use ipsec_core::crypto::{Encr, HashId, Prf, PrfId, Provider, Suite};

const HEADER_LEN: usize = 28;
const HASH: u8 = 8;
const NONCE: u8 = 10;

/// The keys of an SA of IKEv1, as the key log tells them.
#[derive(Clone)]
pub struct IsakmpKeys {
    /// The initiator's and the responder's cookie.
    pub cookies: (u64, u64),
    /// Its encryption.
    pub suite: Suite,
    /// The key of the cipher.
    pub key: Vec<u8>,
    /// SKEYID_a, as long as the output of the hash.
    pub skeyid_a: Vec<u8>,
}

/// A message in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clear {
    /// The type of the exchange.
    pub exchange: u8,
    /// The flags besides that of encryption.
    pub flags: u8,
    /// The message ID.
    pub id: u32,
    /// The type of the first payload; a message behind phase 1 begins with the hash, which is not counted.
    pub first: u8,
    /// The payloads, without the hash.
    pub payloads: Vec<u8>,
}

impl IsakmpKeys {
    /// Whether a message is of this SA, and encrypted.
    pub fn is_of(&self, message: &[u8]) -> bool {
        let cookies = [self.cookies.0.to_be_bytes(), self.cookies.1.to_be_bytes()].concat();
        message.len() > HEADER_LEN && message[..16] == cookies && message[19] & 1 != 0
    }

    fn block(&self) -> usize {
        if self.suite.encr == Encr::AES_CBC { 16 } else { 8 }
    }

    fn prf(&self) -> (PrfId, HashId) {
        match self.skeyid_a.len() {
            16 => (PrfId::HMAC_MD5, HashId::Md5),
            20 => (PrfId::HMAC_SHA1, HashId::Sha1),
            48 => (PrfId::HMAC_SHA2_384, HashId::Sha384),
            64 => (PrfId::HMAC_SHA2_512, HashId::Sha512),
            _ => (PrfId::HMAC_SHA2_256, HashId::Sha256),
        }
    }

    /// What was said in an exchange before `message`, or at all: each message once.
    fn before<'h>(&self, said: &[&'h [u8]], id: u32, message: Option<&[u8]>) -> Vec<&'h [u8]> {
        let mut all: Vec<&[u8]> = Vec::new();
        for one in said.iter().copied().filter(|one| self.is_of(one)) {
            if Some(one) == message {
                break;
            }
            if message_id(one) == id && !all.contains(&one) {
                all.push(one);
            }
        }
        all
    }

    /// The initialization vector of what follows `before` (RFC 2409 appendix B).
    fn iv<P: Provider>(&self, said: &[&[u8]], before: &[&[u8]], id: u32) -> Option<Vec<u8>> {
        let last = |one: &[u8]| one.last_chunk::<16>().map(|c| c[16 - self.block()..].to_vec());
        if let Some(one) = before.last() {
            return last(one);
        }
        let phase1 = last(self.before(said, 0, None).last()?)?;
        let (_, hash) = self.prf();
        let mut digest = vec![0; hash.output_len()];
        P::hash(hash, &[&phase1, &id.to_be_bytes()], &mut digest).ok()?;
        digest.truncate(self.block());
        Some(digest)
    }

    fn decrypt<P: Provider>(&self, iv: &[u8], message: &[u8]) -> Option<Vec<u8>> {
        let mut text = message[HEADER_LEN..].to_vec();
        P::cbc_decrypt(self.suite.encr, &self.key, iv, &mut text).ok()?;
        Some(text)
    }

    /// Decrypts a message of an exchange after phase 1, given all that was said. `None` if its hash is not good.
    pub fn open<P: Provider>(&self, said: &[&[u8]], message: &[u8]) -> Option<Clear> {
        let id = message_id(message);
        if !self.is_of(message) || id == 0 {
            return None;
        }
        let before = self.before(said, id, Some(message));
        let text = self.decrypt::<P>(&self.iv::<P>(said, &before, id)?, message)?;
        if message[16] != HASH || text.len() < 4 {
            return None;
        }
        let (first, covered) = (text[0], text.get(4 + self.skeyid_a.len()..)?);
        let (end, _) = walk(first, covered, NONCE)?;
        let clear = Clear {
            exchange: message[18],
            flags: message[19] & !1,
            id,
            first,
            payloads: covered[..end].to_vec(),
        };
        let good = self.hash::<P>(said, &before, &clear)?;
        (text[4..4 + good.len()] == good).then_some(clear)
    }

    /// The hash in front of a message (RFC 2409 sections 5.5 and 5.7): which one, the place of the message says.
    fn hash<P: Provider>(
        &self,
        said: &[&[u8]],
        before: &[&[u8]],
        clear: &Clear,
    ) -> Option<Vec<u8>> {
        let (prf, _) = self.prf();
        let id = clear.id.to_be_bytes();
        let nonce = |index: usize| {
            let iv = self.iv::<P>(said, &before[..index], clear.id)?;
            let text = self.decrypt::<P>(&iv, before[index])?;
            let rest = text.get(4 + self.skeyid_a.len()..)?;
            walk(text[0], rest, NONCE)?.1
        };
        let mut out = vec![0; self.skeyid_a.len()];
        let prf = P::Prf::new(prf, &self.skeyid_a).ok()?;
        match before.len() {
            _ if clear.exchange != 32 => prf.compute(&[&id, &clear.payloads], &mut out),
            0 | 3 => prf.compute(&[&id, &clear.payloads], &mut out),
            1 => prf.compute(&[&id, &nonce(0)?, &clear.payloads], &mut out),
            _ => prf.compute(&[&[0], &id, &nonce(0)?, &nonce(1)?], &mut out),
        }
        .ok()?;
        Some(out)
    }

    /// Encrypts a message: the next of its exchange, or in place of `instead`.
    pub fn seal<P: Provider>(
        &self,
        said: &[&[u8]],
        instead: Option<&[u8]>,
        clear: &Clear,
    ) -> Option<Vec<u8>> {
        let before = self.before(said, clear.id, instead);
        let hash = self.hash::<P>(said, &before, clear)?;
        let mut text = vec![clear.first, 0];
        text.extend(u16::try_from(4 + hash.len()).ok()?.to_be_bytes());
        text.extend(hash);
        text.extend(&clear.payloads);
        text.resize(text.len().next_multiple_of(self.block()), 0);
        let iv = self.iv::<P>(said, &before, clear.id)?;
        P::cbc_encrypt(self.suite.encr, &self.key, &iv, &mut text).ok()?;
        let mut message = self.cookies.0.to_be_bytes().to_vec();
        message.extend(self.cookies.1.to_be_bytes());
        message.extend([HASH, 0x10, clear.exchange, clear.flags | 1]);
        message.extend(clear.id.to_be_bytes());
        message.extend(u32::try_from(HEADER_LEN + text.len()).ok()?.to_be_bytes());
        message.extend(text);
        Some(message)
    }
}

fn message_id(message: &[u8]) -> u32 {
    message.get(20..24).and_then(|id| id.first_chunk()).map_or(0, |id| u32::from_be_bytes(*id))
}

/// Walks a chain of payloads. Gives where it ends, and the body of the first payload of a type.
fn walk(first: u8, chain: &[u8], wanted: u8) -> Option<(usize, Option<Vec<u8>>)> {
    let (mut kind, mut at, mut found) = (first, 0, None);
    while kind != 0 {
        let head = chain.get(at..at + 4)?;
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let body = chain.get(at + 4..at + len)?;
        if kind == wanted && found.is_none() {
            found = Some(body.to_vec());
        }
        (kind, at) = (head[0], at + len);
    }
    Some((at, found))
}
