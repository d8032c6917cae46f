//! Somebody who has the keys: the peer itself, gone mad.

use ipsec_core::crypto::{PacketCipher, Suite, Work};
use ipsec_ike::wire::{
    ExchangeType, Flags, Fragment, HEADER_LEN, Header, Message, MessageWriter, PayloadType,
    SkLayout, strip_padding,
};
use ipsec_testkit::toy::ToyCipher;

/// The keys of an IKE SA, from the key log.
#[derive(Clone)]
pub(crate) struct IkeKeys {
    /// The initiator's and the responder's SPI.
    pub(crate) spis: (u64, u64),
    pub(crate) suite: Suite,
    /// Key and salt, of the initiator and of the responder.
    pub(crate) encryption: [Vec<u8>; 2],
    pub(crate) integrity: [Vec<u8>; 2],
}

/// An encrypted message in clear.
#[derive(Clone)]
pub(crate) struct Plain {
    /// Whether the original initiator sends it.
    pub(crate) from_initiator: bool,
    pub(crate) response: bool,
    pub(crate) exchange: u8,
    pub(crate) message_id: u32,
    /// The type of the first payload inside.
    pub(crate) first: u8,
    /// The payloads inside, or a part of them.
    pub(crate) inner: Vec<u8>,
    /// Which part.
    pub(crate) fragment: Option<Fragment>,
}

impl IkeKeys {
    fn cipher(&self, from_initiator: bool) -> (ToyCipher, &[u8]) {
        let sender = usize::from(!from_initiator);
        let shape = self.suite.shape().unwrap();
        let (key, salt) = self.encryption[sender].split_at(shape.key_len);
        (ToyCipher::new(self.suite, key, &self.integrity[sender]).unwrap(), salt)
    }

    fn nonce(salt: &[u8], iv: &[u8]) -> Vec<u8> {
        [salt, iv].concat()
    }

    /// Decrypts a message; `None` if these are not its keys.
    pub(crate) fn open(&self, bytes: &[u8]) -> Option<Plain> {
        let message = Message::parse(bytes).ok()?;
        let header = message.header;
        if (header.initiator_spi, header.responder_spi) != self.spis {
            return None;
        }
        let encrypted = message.collect().ok()?.encrypted?;
        let layout = encrypted.layout(bytes.len(), &self.suite.shape()?).ok()?;
        let (cipher, salt) = self.cipher(header.from_initiator());
        let mut copy = bytes.to_vec();
        let parts = layout.parts(&mut copy)?;
        let nonce = Self::nonce(salt, parts.iv);
        let work = Work {
            nonce: &nonce,
            head: parts.head,
            text: &mut *parts.text,
            tail: &[],
            icv: parts.icv,
        };
        cipher.open(work).ok()?;
        Some(Plain {
            from_initiator: header.from_initiator(),
            response: header.is_response(),
            exchange: header.exchange.0,
            message_id: header.message_id,
            first: encrypted.first.0,
            inner: strip_padding(parts.text).ok()?.to_vec(),
            fragment: encrypted.fragment,
        })
    }

    /// Encrypts a message; `None` if it is too long.
    pub(crate) fn seal(&self, plain: &Plain, counter: u64) -> Option<Vec<u8>> {
        let mut flags = if plain.response { Flags::RESPONSE } else { Flags(0) };
        if plain.from_initiator {
            flags = flags.union(Flags::INITIATOR);
        }
        let exchange = ExchangeType(plain.exchange);
        let header = Header::new(self.spis.0, self.spis.1, exchange, flags, plain.message_id);
        let shape = self.suite.shape()?;
        let mut buf = vec![0; plain.inner.len() + 128];
        let layout = self.compose(&mut buf, &header, plain, &shape)?;
        buf.truncate(layout.len());
        let (cipher, salt) = self.cipher(plain.from_initiator);
        let parts = layout.parts(&mut buf)?;
        parts.iv[..8].copy_from_slice(&counter.to_be_bytes());
        let nonce = Self::nonce(salt, parts.iv);
        let work =
            Work { nonce: &nonce, head: parts.head, text: parts.text, tail: &[], icv: parts.icv };
        cipher.seal(work).ok()?;
        Some(buf)
    }

    /// Writes the message with its inner payloads as they are, right or wrong.
    fn compose(
        &self,
        buf: &mut [u8],
        header: &Header,
        plain: &Plain,
        shape: &ipsec_core::crypto::Shape,
    ) -> Option<SkLayout> {
        let writer = MessageWriter::new(buf, header).ok()?;
        if let Some(fragment) = plain.fragment {
            let mut skf = writer.begin_skf(shape, PayloadType(plain.first), fragment).ok()?;
            skf.keep(plain.inner.len()).ok()?;
            let layout = skf.finish().ok()?;
            buf[layout.text().start..][..plain.inner.len()].copy_from_slice(&plain.inner);
            return Some(layout);
        }
        let mut sk = writer.begin_sk(shape).ok()?;
        if !plain.inner.is_empty() {
            // A payload as long as the others together; its header, too, is theirs.
            let body = plain.inner.get(4..)?;
            sk.raw(PayloadType(plain.first), body).ok()?;
        }
        let layout = sk.finish().ok()?;
        let text = layout.text();
        buf[text.start..][..plain.inner.len()].copy_from_slice(&plain.inner);
        buf[HEADER_LEN] = plain.first;
        Some(layout)
    }
}
