//! Cuts parts that are not contiguous into blocks, for GHASH and CBC-MAC.

use core::slice;

use ipsec_core::bytes;

use crate::aes_key::Block;

const LEN: usize = 16;

/// What has not been processed yet: at most one block, which is held back until it is known whether it is the last.
#[derive(Default)]
pub(crate) struct Pending {
    block: Block,
    filled: usize,
}

impl Pending {
    /// Takes `part`, and gives all blocks but the last to `process`.
    pub(crate) fn feed(&mut self, mut part: &[u8], mut process: impl FnMut(&[Block])) {
        if self.filled != 0 {
            let room = self.block.get_mut(self.filled..).unwrap_or_default();
            let (now, later) = part.split_at_checked(room.len()).unwrap_or((part, &[]));
            let _ = bytes::copy_prefix(room, now);
            self.filled = self.filled.saturating_add(now.len());
            part = later;
            if part.is_empty() {
                return;
            }
            process(slice::from_ref(&self.block));
        }
        let whole = part.len().saturating_sub(1) & !(LEN - 1);
        let (blocks, rest) = part.split_at_checked(whole).unwrap_or_default();
        process(Block::slice_as_chunks(blocks).0);
        let _ = bytes::copy_prefix(&mut self.block, rest);
        self.filled = rest.len();
    }

    /// Whether the last block is complete.
    pub(crate) const fn is_complete(&self) -> bool {
        self.filled == LEN
    }

    /// The last block, filled up with `first` and zeros, and nothing pending after it. `None` if there is none.
    pub(crate) fn take_padded(&mut self, first: u8) -> Option<Block> {
        let filled = core::mem::take(&mut self.filled);
        let mut padding = self.block.iter_mut().skip(filled);
        if let Some(byte) = padding.next() {
            *byte = first;
        }
        padding.for_each(|byte| *byte = 0);
        (filled != 0).then_some(self.block)
    }
}

/// `a` becomes the sum of `a` and `b`.
pub(crate) fn xor(a: &mut Block, b: &Block) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a ^= b);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the cuts are, the blocks are the same, and at least a byte of a text that is not empty is held back.
    #[test]
    fn cuts_do_not_matter() {
        let text: [u8; 70] = core::array::from_fn(|i| i.to_le_bytes()[0]);
        for len in 0..=text.len() {
            for a in 0..=len {
                for b in [a, a + 1, a + 16, a + 17].map(|b| b.min(len)) {
                    let (mut seen, mut at) = ([0; 80], 0);
                    let mut take = |blocks: &[Block]| {
                        for block in blocks {
                            seen[at..at + 16].copy_from_slice(block);
                            at += 16;
                        }
                    };
                    let mut pending = Pending::default();
                    for part in [&text[..a], &text[a..b], &[], &text[b..len]] {
                        pending.feed(part, &mut take);
                    }
                    assert_eq!(pending.is_complete(), len != 0 && len % 16 == 0);
                    let last = pending.take_padded(0x80);
                    assert_eq!(last.is_some(), len != 0);
                    assert_eq!(pending.take_padded(0x80), None);
                    let Some(last) = last else { continue };
                    take(&[last]);
                    let mut want = [0; 80];
                    want[..len].copy_from_slice(&text[..len]);
                    if len % 16 != 0 {
                        want[len] = 0x80;
                    }
                    assert_eq!((at, seen), (len.next_multiple_of(16), want), "{len} {a} {b}");
                }
            }
        }
    }
}
