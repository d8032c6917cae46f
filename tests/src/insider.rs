//! Somebody who has the keys of an IKE SA.

use std::vec::Vec;

use ipsec::{GatewayEvent, IkeKeysLog, Provider};
use ipsec_core::crypto::{PacketCipher, Work};

use crate::pair::Node;
use crate::toy::Toy;

/// The payload type of an encrypted fragment.
const SKF: u8 = 53;

/// Whoever has the keys of an IKE SA: an initiator that has not proven anything yet, or a peer that misbehaves.
pub struct Insider {
    keys: IkeKeysLog,
    initiator: bool,
    iv: u64,
}

impl Insider {
    /// Takes the last keys that a node has told: [`Config::key_log`](ipsec::Config::key_log) has to be on.
    ///
    /// # Panics
    /// If it has told none.
    pub fn of<P: Provider>(node: &Node<'_, P>, initiator: bool) -> Self {
        let keys = node.events.iter().rev().find_map(|(_, event)| match event {
            GatewayEvent::IkeKeys(keys) => Some(keys.clone()),
            _ => None,
        });
        let Some(keys) = keys else { panic!("no keys") };
        Self::new(keys, initiator)
    }

    /// Has these keys, and speaks for the initiator or for the responder.
    pub const fn new(keys: IkeKeysLog, initiator: bool) -> Self {
        Self { keys, initiator, iv: 1 << 40 }
    }

    /// A message of these payloads (RFC 7296 section 3.14), AES-GCM, with the toy provider.
    ///
    /// # Panics
    /// If they are too long.
    pub fn message(
        &mut self,
        exchange: u8,
        flags: u8,
        id: u32,
        first: u8,
        payloads: &[u8],
    ) -> Vec<u8> {
        self.padded(exchange, flags, id, first, &[payloads, &[0]].concat())
    }

    /// As [`Insider::message`], with the padding and its length in `text`, right or wrong.
    ///
    /// # Panics
    /// If it is too long.
    pub fn padded(&mut self, exchange: u8, flags: u8, id: u32, first: u8, text: &[u8]) -> Vec<u8> {
        let flags = flags | if self.initiator { 0x08 } else { 0 };
        let key = if self.initiator { self.keys.encryption_i() } else { self.keys.encryption_r() };
        let (key, salt) = key.split_at(key.len() - 4);
        let cipher = <Toy as Provider>::Cipher::new(self.keys.suite, key, &[]).unwrap();
        self.iv += 1;
        let iv = self.iv.to_be_bytes();
        let mut text = text.to_vec();
        let total = 28 + 4 + 8 + text.len() + 16;
        let mut head = self.keys.initiator_spi.to_be_bytes().to_vec();
        head.extend(self.keys.responder_spi.to_be_bytes());
        head.extend([46, 0x20, exchange, flags]);
        head.extend(id.to_be_bytes());
        head.extend((total as u32).to_be_bytes());
        head.extend([first, 0]);
        head.extend((total as u16 - 28).to_be_bytes());
        let mut icv = [0; 16];
        let nonce = [salt, &iv].concat();
        let work = Work { nonce: &nonce, head: &head, text: &mut text, tail: &[], icv: &mut icv };
        cipher.seal(work).unwrap();
        [&head[..], &iv, &text, &icv].concat()
    }

    /// The payloads of a message that its side has sent.
    ///
    /// # Panics
    /// If it is none.
    pub fn open(&self, message: &[u8]) -> Vec<u8> {
        self.try_open(message).unwrap()
    }

    /// The payloads of a message, or what one fragment has of them. `None` if its side has not sent it so.
    pub fn try_open(&self, message: &[u8]) -> Option<Vec<u8>> {
        let key = if self.initiator { self.keys.encryption_i() } else { self.keys.encryption_r() };
        let (key, salt) = key.split_at(key.len() - 4);
        let cipher = <Toy as Provider>::Cipher::new(self.keys.suite, key, &[]).ok()?;
        // RFC 7383 section 2.5: which fragment it is comes before the initialization vector.
        let head_len = if message.get(16) == Some(&SKF) { 36 } else { 32 };
        let (head, rest) = message.split_at_checked(head_len)?;
        let (iv, rest) = rest.split_at_checked(8)?;
        let (text, icv) = rest.split_at_checked(rest.len().checked_sub(16)?)?;
        let (mut text, mut icv, nonce) = (text.to_vec(), icv.to_vec(), [salt, iv].concat());
        let work = Work { nonce: &nonce, head, text: &mut text, tail: &[], icv: &mut icv };
        cipher.open(work).ok()?;
        let padding = usize::from(*text.last()?);
        text.truncate(text.len().checked_sub(1 + padding)?);
        Some(text)
    }
}
