//! CBC-MAC with AES, and what is made of it: AES-XCBC (RFC 3566) and AES-CMAC (RFC 4493).
//!
//! The two differ only in where three subkeys come from.

use aes::Aes128Enc;
use aes::cipher::BlockCipherEncrypt;
use aes::cipher::consts::U16;
use ipsec_core::crypto::CryptoError;
use zeroize::Zeroizing;

use crate::aes_key::{Block, prepare};
use crate::blocks::{Pending, xor};

/// Bytes of a key.
const KEY_LEN: usize = 16;

/// The padding of an incomplete block begins with one bit.
const ONE_BIT: u8 = 0x80;

/// A key of AES-XCBC or AES-CMAC, its subkeys prepared. Wiped on drop.
pub(crate) struct BlockMac {
    aes: Aes128Enc,
    /// Added to a complete last block.
    complete: Zeroizing<Block>,
    /// Added to a last block that was padded.
    padded: Zeroizing<Block>,
}

impl BlockMac {
    /// AES-XCBC: all three subkeys are encrypted constants (RFC 3566 section 4).
    pub(crate) fn xcbc(key: &[u8]) -> Result<Self, CryptoError> {
        let aes: Aes128Enc = prepare(key)?;
        let subkey = |constant: u8| {
            let mut block = Zeroizing::new(Block::from([constant; 16]));
            aes.encrypt_block(&mut block);
            block
        };
        let (complete, padded) = (subkey(2), subkey(3));
        Ok(Self { aes: prepare(&subkey(1))?, complete, padded })
    }

    /// AES-CMAC: two subkeys are multiples of the encrypted zero (RFC 4493 section 2.3).
    pub(crate) fn cmac(key: &[u8]) -> Result<Self, CryptoError> {
        let aes: Aes128Enc = prepare(key)?;
        let mut zero = Zeroizing::new(Block::default());
        aes.encrypt_block(&mut zero);
        let complete = double(&zero);
        let padded = double(&complete);
        Ok(Self { aes, complete, padded })
    }

    /// AES-XCBC with a key of any length: short ones are padded, long ones are hashed (RFC 4434 section 2).
    pub(crate) fn xcbc_of_any(key: &[u8]) -> Result<Self, CryptoError> {
        if key.len() > KEY_LEN {
            return Self::xcbc(&Self::xcbc(&[0; KEY_LEN])?.compute(&[key]));
        }
        let mut padded = Zeroizing::new([0; KEY_LEN]);
        padded.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        Self::xcbc(&*padded)
    }

    /// AES-CMAC with a key of any length: all but those of 16 bytes are hashed (RFC 4615 section 3).
    pub(crate) fn cmac_of_any(key: &[u8]) -> Result<Self, CryptoError> {
        if key.len() == KEY_LEN {
            return Self::cmac(key);
        }
        Self::cmac(&Self::cmac(&[0; KEY_LEN])?.compute(&[key]))
    }

    /// The whole MAC over `parts`, in order.
    pub(crate) fn compute(&self, parts: &[&[u8]]) -> Zeroizing<Block> {
        let mut chain = Chain::new(&self.aes);
        parts.iter().for_each(|part| chain.feed(part));
        let subkey = if chain.pending.is_complete() { &self.complete } else { &self.padded };
        // An empty text is one block of padding.
        let mut last = chain.pending.take_padded(ONE_BIT).unwrap_or_else(|| {
            let mut block = Block::default();
            if let Some(first) = block.first_mut() {
                *first = ONE_BIT;
            }
            block
        });
        xor(&mut last, subkey);
        chain.add(&last);
        chain.state
    }
}

/// CBC-MAC under way.
pub(crate) struct Chain<'a, C> {
    aes: &'a C,
    state: Zeroizing<Block>,
    pending: Pending,
}

impl<'a, C: BlockCipherEncrypt<BlockSize = U16>> Chain<'a, C> {
    pub(crate) fn new(aes: &'a C) -> Self {
        Self { aes, state: Zeroizing::default(), pending: Pending::default() }
    }

    pub(crate) fn feed(&mut self, part: &[u8]) {
        let Self { aes, state, pending } = self;
        pending.feed(part, |blocks| blocks.iter().for_each(|block| step(*aes, state, block)));
    }

    /// Fills up to a whole block with zeros.
    pub(crate) fn pad(&mut self) {
        if let Some(last) = self.pending.take_padded(0) {
            self.add(&last);
        }
    }

    /// The chaining value after what was padded.
    pub(crate) fn state(&self) -> &Block {
        &self.state
    }

    fn add(&mut self, block: &Block) {
        step(self.aes, &mut self.state, block);
    }
}

fn step<C: BlockCipherEncrypt<BlockSize = U16>>(aes: &C, state: &mut Block, block: &Block) {
    xor(state, block);
    aes.encrypt_block(state);
}

/// Twice the value, in the field of CMAC. No branch depends on it.
fn double(block: &Block) -> Zeroizing<Block> {
    let value = u128::from_be_bytes(block.0);
    let carry = (value >> 127).wrapping_neg() & 0x87;
    Zeroizing::new(Block::from((value << 1 ^ carry).to_be_bytes()))
}
