//! What the test files share.
#![allow(dead_code, clippy::cast_possible_truncation)]

use ipsec_core::crypto::Group;
use rand_core::{TryCryptoRng, TryRng};

/// The bytes of a hexadecimal string.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A random source that gives what the test put there, and panics when asked for more.
pub(crate) struct Script {
    bytes: Vec<u8>,
    at: usize,
}

impl Script {
    pub(crate) fn new(draws: &[&[u8]]) -> Self {
        Self { bytes: draws.concat(), at: 0 }
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.at == self.bytes.len()
    }
}

impl TryRng for Script {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut word = [0; 4];
        self.try_fill_bytes(&mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut word = [0; 8];
        self.try_fill_bytes(&mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        out.copy_from_slice(&self.bytes[self.at..self.at + out.len()]);
        self.at += out.len();
        Ok(())
    }
}

impl TryCryptoRng for Script {}

/// Private values of both sides, as many bytes as the group draws. The top bit is set, so that it does not matter who sets
/// it; P-521 clears it.
pub(crate) fn privates(group: Group) -> (Vec<u8>, Vec<u8>) {
    if group.is_kem() {
        return ((0x80..=0xbf).collect(), (0xc0..0xe0).collect());
    }
    let len = match group {
        Group::MODP_3072 => 40,
        Group::MODP_4096 | Group::P384 => 48,
        Group::MODP_6144 => 56,
        Group::MODP_8192 => 64,
        Group::P521 => 66,
        _ => 32,
    };
    ((0x80..=0xbf).cycle().take(len).collect(), (0xc0..=0xff).cycle().take(len).collect())
}
