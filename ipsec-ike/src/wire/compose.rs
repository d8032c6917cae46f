//! Writing messages: header, payloads one after another, and the encrypted payload around the last of them.

use core::ops::{Deref, DerefMut};

use ipsec_core::bytes::Writer;
use ipsec_core::crypto::Shape;

use super::chain::PAYLOAD_HEADER_LEN;
use super::header::{Header, LENGTH_AT, NEXT_PAYLOAD_AT};
use super::iana::PayloadType;
use super::sk::{Fragment, SkLayout};

/// The buffer is too small for the message, or a payload would exceed what its length fields can say. What was
/// written is to be discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NoRoom;

impl core::fmt::Display for NoRoom {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("no room for the message")
    }
}

impl core::error::Error for NoRoom {}

/// Writes a message into the caller's buffer. Each payload patches its type into the one before it; the end patches
/// the length of the message.
///
/// The methods for particular payloads are in their files.
#[derive(Debug)]
pub struct MessageWriter<'b> {
    w: Writer<'b>,
    /// Where the type of the next payload goes.
    next_at: usize,
}

impl<'b> MessageWriter<'b> {
    /// Begins a message with its header, whose first payload and length are ignored.
    pub fn new(buf: &'b mut [u8], header: &Header) -> Result<Self, NoRoom> {
        let mut w = Writer::new(buf);
        let header = Header { next_payload: PayloadType::NONE, length: 0, ..*header };
        header.write(&mut w).ok_or(NoRoom)?;
        Ok(Self { w, next_at: NEXT_PAYLOAD_AT })
    }

    /// Appends a payload whose body `body` writes.
    pub fn payload(
        &mut self,
        kind: PayloadType,
        body: impl FnOnce(&mut Writer<'b>) -> Option<()>,
    ) -> Result<(), NoRoom> {
        let start = self.open(kind).ok_or(NoRoom)?;
        body(&mut self.w).ok_or(NoRoom)?;
        self.close(start).ok_or(NoRoom)
    }

    /// Appends a payload with this body.
    pub fn raw(&mut self, kind: PayloadType, body: &[u8]) -> Result<(), NoRoom> {
        self.payload(kind, |w| w.bytes(body))
    }

    /// Begins the encrypted payload, which takes in every payload that is appended from now on.
    pub fn begin_sk(mut self, shape: &Shape) -> Result<SkWriter<'b>, NoRoom> {
        let start = self.open(PayloadType::SK).ok_or(NoRoom)?;
        self.begin_text(start, shape)
    }

    /// Begins an encrypted fragment (RFC 7383 section 2.5), which takes in what [`SkWriter::keep`] says. `first` is the
    /// type of the first payload of the whole message in the first fragment, and none in others.
    pub fn begin_skf(
        mut self,
        shape: &Shape,
        first: PayloadType,
        fragment: Fragment,
    ) -> Result<SkWriter<'b>, NoRoom> {
        let start = self.open(PayloadType::SKF).ok_or(NoRoom)?;
        self.w.patch(start, &[first.0]).ok_or(NoRoom)?;
        self.w.u16(fragment.number).ok_or(NoRoom)?;
        self.w.u16(fragment.total).ok_or(NoRoom)?;
        self.begin_text(start, shape)
    }

    fn begin_text(mut self, start: usize, shape: &Shape) -> Result<SkWriter<'b>, NoRoom> {
        let iv = self.w.len();
        self.w.reserve(shape.iv_len).ok_or(NoRoom)?.fill(0);
        let Shape { block_len, icv_len, .. } = *shape;
        let text = self.w.len();
        Ok(SkWriter { message: self, start, iv, text, block_len, icv_len })
    }

    /// Ends a message in the clear. Gives its length.
    pub fn finish(mut self) -> Result<usize, NoRoom> {
        self.patch_length().ok_or(NoRoom)
    }

    /// Bytes written so far.
    #[cfg(feature = "ikev1")]
    pub(super) const fn written_len(&self) -> usize {
        self.w.len()
    }

    /// Appends zeros until what follows `from` is a multiple of `block_len`. Gives the length of the message.
    #[cfg(feature = "ikev1")]
    pub(super) fn pad(&mut self, from: usize, block_len: usize) -> Option<usize> {
        let over = self.w.len().checked_sub(from)?.checked_rem(block_len)?;
        let pad_len = if over == 0 { 0 } else { block_len.checked_sub(over)? };
        self.w.reserve(pad_len)?.fill(0);
        Some(self.w.len())
    }

    fn open(&mut self, kind: PayloadType) -> Option<usize> {
        let start = self.w.len();
        self.w.bytes(&[0; PAYLOAD_HEADER_LEN])?;
        self.w.patch(self.next_at, &[kind.0])?;
        self.next_at = start;
        Some(start)
    }

    fn close(&mut self, start: usize) -> Option<()> {
        let len = u16::try_from(self.w.len().checked_sub(start)?).ok()?;
        self.w.patch(start.checked_add(2)?, &len.to_be_bytes())
    }

    fn patch_length(&mut self) -> Option<usize> {
        let len = self.w.len();
        self.w.patch(LENGTH_AT, &u32::try_from(len).ok()?.to_be_bytes())?;
        Some(len)
    }
}

/// Writes the inside of an encrypted payload: dereferences to the [`MessageWriter`] that appends to it.
#[derive(Debug)]
pub struct SkWriter<'b> {
    message: MessageWriter<'b>,
    start: usize,
    iv: usize,
    text: usize,
    block_len: usize,
    icv_len: usize,
}

impl SkWriter<'_> {
    /// Takes in the next `len` bytes of the buffer as they are: the text of a fragment, or a part of it.
    pub fn keep(&mut self, len: usize) -> Result<(), NoRoom> {
        self.message.w.advance(len).ok_or(NoRoom)
    }

    /// Ends the message: pads the text to the cipher's block with the least padding, and leaves room for the ICV. IV
    /// and ICV are zero until the caller writes them, and the text is plain until the caller encrypts it.
    pub fn finish(mut self) -> Result<SkLayout, NoRoom> {
        self.pad_and_close().ok_or(NoRoom)
    }

    fn pad_and_close(&mut self) -> Option<SkLayout> {
        let w = &mut self.message.w;
        let unpadded = w.len().checked_sub(self.text)?.checked_add(1)?;
        let over = unpadded.checked_rem(self.block_len)?;
        let pad_len = if over == 0 { 0 } else { self.block_len.checked_sub(over)? };
        w.reserve(pad_len)?.fill(0);
        w.u8(u8::try_from(pad_len).ok()?)?;
        let icv = w.len();
        w.reserve(self.icv_len)?.fill(0);
        self.message.close(self.start)?;
        let end = self.message.patch_length()?;
        Some(SkLayout { iv: self.iv, text: self.text, icv, end })
    }
}

impl<'b> Deref for SkWriter<'b> {
    type Target = MessageWriter<'b>;

    fn deref(&self) -> &Self::Target {
        &self.message
    }
}

impl DerefMut for SkWriter<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::iana::{
        AuthMethod, ExchangeType, Flags, IdType, NotifyType, ProtocolId, TransformType,
    };
    use crate::wire::testdata::{SA_INIT_REQUEST, SAMPLES};
    use crate::wire::{
        AuthPayload, DeletePayload, IdPayload, KePayload, Message, Notify, Payload, Payloads,
        SaPayload, TsPayload, nonce, strip_padding,
    };
    use ipsec_core::crypto::{Group, Suite};
    use ipsec_core::selector::TrafficSelector;

    extern crate std;
    use std::vec::Vec;

    const HEADER: Header = Header::new(7, 8, ExchangeType::IKE_AUTH, Flags::INITIATOR, 1);

    fn write_inner(m: &mut MessageWriter<'_>) -> Result<(), NoRoom> {
        m.id(PayloadType::IDI, &IdPayload::new(IdType::FQDN, b"kolkata.example"))?;
        m.id(PayloadType::IDR, &IdPayload::new(IdType::IPV4_ADDR, &[10, 0, 0, 1]))?;
        m.auth(AuthMethod::SHARED_KEY, &[0x55; 32])?;
        m.sa(|sa| {
            let mut p = sa.proposal(1, ProtocolId::ESP, &[0, 0, 1, 0])?;
            p.transform(TransformType::ENCR, 20, Some(256))?;
            p.transform(TransformType::ESN, 0, None)
        })?;
        m.ts(PayloadType::TSI, &[TrafficSelector::ANY_V4, TrafficSelector::ANY_V6])?;
        m.ts(PayloadType::TSR, &[TrafficSelector::ANY_V4])?;
        m.notify(&Notify::new(NotifyType::INITIAL_CONTACT, &[]))?;
        m.delete(ProtocolId::ESP, &[0x100, 0x200])?;
        m.delete_ike()?;
        m.vendor_id(b"vendor")
    }

    #[test]
    fn a_message_in_the_clear() {
        let mut buf = [0xee; 600];
        let mut m = MessageWriter::new(&mut buf, &HEADER).unwrap();
        m.ke(Group::X25519, &[3; 32]).unwrap();
        m.nonce(&[4; 16]).unwrap();
        write_inner(&mut m).unwrap();
        let len = m.finish().unwrap();
        let message = Message::parse(&buf[..len]).unwrap();
        assert_eq!(message.header.message_id, 1);
        let all = message.collect().unwrap();
        assert_eq!(all.ke.unwrap().data, [3; 32]);
        assert_eq!(all.nonce.unwrap(), [4; 16]);
        assert_eq!(all.id_i.unwrap(), IdPayload::new(IdType::FQDN, b"kolkata.example"));
        assert_eq!(all.id_r.unwrap(), IdPayload::new(IdType::IPV4_ADDR, &[10, 0, 0, 1]));
        assert_eq!(all.auth.unwrap().data, [0x55; 32]);
        assert_eq!(all.sa.unwrap().single().unwrap().spi_u32(), Some(0x100));
        assert_eq!(
            all.ts_i.unwrap().list().unwrap(),
            [TrafficSelector::ANY_V4, TrafficSelector::ANY_V6]
        );
        assert_eq!(all.ts_r.unwrap().list().unwrap(), [TrafficSelector::ANY_V4]);
        assert!(all.notify(NotifyType::INITIAL_CONTACT).is_some());
        assert_eq!(all.deletes().flat_map(|d| d.spis()).sum::<u32>(), 0x300);
        assert_eq!(all.deletes().count(), 2);
        assert!(all.vendor_ids().eq([b"vendor"]));
    }

    #[test]
    fn an_empty_message_is_a_header() {
        let mut buf = [0xee; 28];
        assert_eq!(MessageWriter::new(&mut buf, &HEADER).unwrap().finish(), Ok(28));
        assert_eq!(Message::parse(&buf).unwrap().payloads().count(), 0);
    }

    #[test]
    fn an_encrypted_payload_encloses_what_follows() {
        for suite in [Suite::AES_128_GCM, Suite::AES_256_CBC_SHA256, Suite::CHACHA20_POLY1305] {
            let shape = suite.shape().unwrap();
            let mut buf = [0xee; 600];
            let mut sk = MessageWriter::new(&mut buf, &HEADER).unwrap().begin_sk(&shape).unwrap();
            write_inner(&mut sk).unwrap();
            let layout = sk.finish().unwrap();
            assert_eq!(layout.head(), 0..32);
            assert_eq!(layout.iv().len(), shape.iv_len);
            assert_eq!(layout.icv().len(), shape.icv_len);
            assert_eq!(layout.text().len() % shape.block_len, 0);

            let bytes = &buf[..layout.len()];
            let encrypted = Message::parse(bytes).unwrap().collect().unwrap().encrypted.unwrap();
            assert_eq!(encrypted.first, PayloadType::IDI);
            assert_eq!(encrypted.fragment, None);
            assert_eq!(encrypted.layout(layout.len(), &shape), Ok(layout));
            let inner = strip_padding(&bytes[layout.text()]).unwrap();
            assert_eq!(Payloads::inner(encrypted.first, inner).filter(|p| p.is_ok()).count(), 10);
            assert_eq!(Payloads::inner(encrypted.first, inner).count(), 10);
        }
    }

    /// RFC 7296 section 3.14: text, padding and pad length fill whole blocks. The empty INFORMATIONAL has padding only.
    #[test]
    fn padding_fills_the_block() {
        let shape = Suite::AES_128_CBC_SHA256.shape().unwrap();
        for body in 0..40 {
            let mut buf = [0xee; 200];
            let mut sk = MessageWriter::new(&mut buf, &HEADER).unwrap().begin_sk(&shape).unwrap();
            if body > 0 {
                sk.raw(PayloadType::VENDOR_ID, &[1; 40][..body]).unwrap();
            }
            let inner_len = if body > 0 { body + 4 } else { 0 };
            let layout = sk.finish().unwrap();
            assert_eq!(layout.text().len(), (inner_len + 1).next_multiple_of(16));
            assert_eq!(strip_padding(&buf[layout.text()]).unwrap().len(), inner_len);
        }
    }

    #[test]
    fn too_little_room_is_an_error_at_every_length() {
        let shape = Suite::AES_128_CBC_SHA256.shape().unwrap();
        let mut buf = [0; 600];
        let mut write = |room: usize| -> Result<usize, NoRoom> {
            let mut sk = MessageWriter::new(&mut buf[..room], &HEADER)?.begin_sk(&shape)?;
            write_inner(&mut sk)?;
            Ok(sk.finish()?.len())
        };
        let len = write(600).unwrap();
        for room in 0..len {
            assert_eq!(write(room), Err(NoRoom), "{room}");
        }
        assert_eq!(write(len), Ok(len));
    }

    #[test]
    fn a_payload_is_not_longer_than_its_length_can_say() {
        let mut buf = std::vec![0; 70_000];
        let mut m = MessageWriter::new(&mut buf, &HEADER).unwrap();
        assert_eq!(m.raw(PayloadType::VENDOR_ID, &[0; 65_532]), Err(NoRoom));
        let mut m = MessageWriter::new(&mut buf, &HEADER).unwrap();
        assert_eq!(m.raw(PayloadType::VENDOR_ID, &[0; 65_531]), Ok(()));
    }

    /// Writes anew what was parsed.
    fn rewrite(m: &mut MessageWriter<'_>, payloads: Payloads<'_>) -> Result<(), NoRoom> {
        for payload in payloads {
            let Payload { kind, body, .. } = payload.unwrap();
            match kind {
                PayloadType::SA => m.sa(|sa| {
                    for offer in SaPayload::parse(body).unwrap().proposals() {
                        let mut p = sa.proposal(offer.number, offer.protocol, offer.spi)?;
                        for t in offer.transforms() {
                            assert!(t.understood);
                            p.transform(t.kind, t.id, t.key_bits)?;
                        }
                    }
                    Ok(())
                }),
                PayloadType::KE => {
                    let ke = KePayload::parse(body).unwrap();
                    m.ke(ke.group, ke.data)
                }
                PayloadType::NONCE => m.nonce(nonce::parse(body).unwrap()),
                PayloadType::IDI | PayloadType::IDR => {
                    m.id(kind, &IdPayload::parse(kind, body).unwrap())
                }
                PayloadType::AUTH => {
                    let auth = AuthPayload::parse(body).unwrap();
                    m.auth(auth.method, auth.data)
                }
                PayloadType::NOTIFY => m.notify(&Notify::parse(body).unwrap()),
                PayloadType::DELETE => {
                    let delete = DeletePayload::parse(body).unwrap();
                    match delete.protocol {
                        ProtocolId::IKE => m.delete_ike(),
                        protocol => m.delete(protocol, &delete.spis().collect::<Vec<_>>()),
                    }
                }
                PayloadType::TSI | PayloadType::TSR => {
                    m.ts(kind, &TsPayload::parse(kind, body).unwrap().list().unwrap())
                }
                other => panic!("{other} was not expected"),
            }?;
        }
        Ok(())
    }

    #[test]
    fn a_message_of_scapy_is_reproduced() {
        let message = Message::parse(&SA_INIT_REQUEST).unwrap();
        let mut buf = [0xee; SA_INIT_REQUEST.len()];
        let mut m = MessageWriter::new(&mut buf, &message.header).unwrap();
        rewrite(&mut m, message.payloads()).unwrap();
        assert_eq!(m.finish(), Ok(SA_INIT_REQUEST.len()));
        assert_eq!(buf, SA_INIT_REQUEST);
    }

    /// Messages of strongSwan, taken apart and written anew, are the same bytes, inside the encrypted payload too.
    #[test]
    fn messages_of_strongswan_are_reproduced() {
        for sample in SAMPLES {
            let shape = sample.suite.shape().unwrap();
            let datagram = sample.datagram();
            let message = Message::parse(&datagram).unwrap();
            let mut buf = [0xee; 600];
            let mut m = MessageWriter::new(&mut buf, &message.header).unwrap();
            let Some(plain) = sample.plain() else {
                rewrite(&mut m, message.payloads()).unwrap();
                let len = m.finish().unwrap();
                assert_eq!(buf[..len], datagram, "{}", sample.what);
                continue;
            };
            let encrypted = message.collect().unwrap().encrypted.unwrap();
            let mut sk = m.begin_sk(&shape).unwrap();
            rewrite(&mut sk, Payloads::inner(encrypted.first, &plain)).unwrap();
            let layout = sk.finish().unwrap();
            assert_eq!(encrypted.layout(datagram.len(), &shape), Ok(layout), "{}", sample.what);
            assert_eq!(buf[layout.head()], datagram[layout.head()], "{}", sample.what);
            assert_eq!(strip_padding(&buf[layout.text()]), Ok(&plain[..]), "{}", sample.what);
        }
    }
}
