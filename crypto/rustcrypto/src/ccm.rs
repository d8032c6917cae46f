//! AES-CCM (RFC 3610), in ESP as RFC 4309 and RFC 8750 say.
//!
//! Composed here of AES alone, and not taken from a crate, because one code serves ICVs of all lengths.

use aes::cipher::StreamCipherCore;
use ipsec_core::bytes::Writer;
use ipsec_core::crypto::{CryptoError, Work};

use crate::aes_key::{AesKey, Block, Forward, KeyStream, apply, key_stream};
use crate::block_mac::Chain;
use crate::blocks::xor;
use crate::cipher::Packets;
use crate::gcm::{compare, write};
use crate::select::Select;

/// Salt of 3 bytes, IV of 8 (RFC 4309 section 4).
const NONCE_LEN: usize = 11;

/// The flags of every block: a byte less than the nonce and the flags leave for the length of the text (L' of RFC 3610).
const LENGTH_FLAGS: u8 = 3;

/// Lengths from here on do not fit the short encoding (RFC 3610 section 2.2).
const LONG_HEAD: usize = 0xff00;

/// A key of AES-CCM.
pub(crate) struct Ccm<S: Select> {
    aes: AesKey<S, Forward>,
    icv_len: usize,
    /// M' of RFC 3610.
    icv_flags: u8,
}

type Stream<'a, S> = KeyStream<'a, AesKey<S, Forward>>;

impl<S: Select> Ccm<S> {
    pub(crate) fn new(key: &[u8], icv_len: usize) -> Result<Self, CryptoError> {
        let icv_flags = match icv_len {
            8 => 3,
            12 => 5,
            16 => 7,
            _ => return Err(CryptoError::Unsupported),
        };
        Ok(Self { aes: AesKey::new(key)?, icv_len, icv_flags })
    }

    /// The key stream, and its first block, which hides the tag (RFC 3610 section 2.3).
    fn start(&self, work: &Work<'_>) -> Result<(Stream<'_, S>, Block), CryptoError> {
        if work.icv.len() != self.icv_len || !work.tail.is_empty() {
            return Err(CryptoError::Length);
        }
        let counter = block(LENGTH_FLAGS, work.nonce, 0)?;
        let mut stream = key_stream(&self.aes, counter);
        let mut mask = Block::default();
        stream.write_keystream_block(&mut mask);
        Ok((stream, mask))
    }

    /// The whole tag of the plaintext (RFC 3610 section 2.2).
    fn tag(&self, mut mask: Block, work: &Work<'_>) -> Result<Block, CryptoError> {
        let has_head = u8::from(!work.head.is_empty());
        let flags = has_head << 6 | self.icv_flags << 3 | LENGTH_FLAGS;
        let text_len = u32::try_from(work.text.len()).map_err(|_| CryptoError::Length)?;
        let mut chain = Chain::new(&self.aes);
        chain.feed(&block(flags, work.nonce, text_len)?);
        match u16::try_from(work.head.len()) {
            Ok(0) => {}
            Ok(len) if work.head.len() < LONG_HEAD => chain.feed(&len.to_be_bytes()),
            _ => {
                let len = u32::try_from(work.head.len()).map_err(|_| CryptoError::Length)?;
                chain.feed(&[0xff, 0xfe]);
                chain.feed(&len.to_be_bytes());
            }
        }
        chain.feed(work.head);
        chain.pad();
        chain.feed(work.text);
        chain.pad();
        xor(&mut mask, chain.state());
        Ok(mask)
    }
}

impl<S: Select> Packets for Ccm<S> {
    #[inline(never)]
    fn seal(&self, work: Work<'_>) -> Result<(), CryptoError> {
        let (stream, mask) = self.start(&work)?;
        let tag = self.tag(mask, &work)?;
        apply(stream, work.text)?;
        write(&tag, work.icv, self.icv_len)
    }

    /// The tag is one of the plaintext, so this decrypts first. The caller wipes the text if it is wrong.
    #[inline(never)]
    fn open(&self, work: Work<'_>) -> Result<(), CryptoError> {
        let (stream, mask) = self.start(&work)?;
        apply(stream, work.text)?;
        compare(&self.tag(mask, &work)?, work.icv, self.icv_len)
    }
}

/// Flags, nonce and a number: the first block of the MAC, and those of the counter.
fn block(flags: u8, nonce: &[u8], number: u32) -> Result<[u8; 16], CryptoError> {
    let nonce = <&[u8; NONCE_LEN]>::try_from(nonce).map_err(|_| CryptoError::Length)?;
    let mut block = [0; 16];
    let mut out = Writer::new(&mut block);
    let written = out.u8(flags).and_then(|()| out.bytes(nonce)).and_then(|()| out.u32(number));
    written.map(|()| block).ok_or(CryptoError::Length)
}
