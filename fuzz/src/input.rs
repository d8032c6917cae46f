//! The input of a target, read as a program.

/// Reads numbers and strings off the front of the input. Behind its end are zeros.
pub(crate) struct Input<'a> {
    rest: &'a [u8],
    seed: u64,
}

impl<'a> Input<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        Self { rest, seed: rest.iter().fold(0xcbf2_9ce4_8422_2325, fnv) }
    }

    /// Where random numbers, and with them keys, begin: different for every input. A fuzzer sees what is compared, and
    /// would otherwise learn packets of one input by heart to forge them in another.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// The next byte, `None` at the end: what begins a step.
    pub(crate) fn step(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.step().unwrap_or(0)
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.u8() & 1 != 0
    }

    /// A number below `bound`, which is not 0, from one byte.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.u8()) % bound
    }

    /// One of `all`.
    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// The next `len` bytes, or fewer.
    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// As many bytes as the next byte says, or fewer.
    pub(crate) fn string(&mut self) -> &'a [u8] {
        let len = usize::from(self.u8());
        self.take(len)
    }

    /// As many bytes as the next two say, up to 2047, or fewer.
    pub(crate) fn long_string(&mut self) -> &'a [u8] {
        let len = usize::from(self.u16()) & 0x7ff;
        self.take(len)
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// Changes `bytes` as the next bytes say: one to four changes.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let kind = self.u8() % 7;
            let at = usize::from(self.u16()) % (bytes.len() + 1);
            let value = self.u8();
            match (kind, bytes.get_mut(at)) {
                (0, Some(byte)) => *byte ^= value.max(1),
                (1, Some(byte)) => *byte = value,
                (2, _) => bytes.truncate(at),
                (3, _) => bytes.extend_from_slice(self.take(value.into())),
                (4, _) => {
                    bytes.splice(at..at, self.take((value & 0x3f).into()).iter().copied());
                }
                (5, _) => {
                    let end = (at + usize::from(value)).min(bytes.len());
                    bytes.drain(at..end);
                }
                (_, Some(_)) => {
                    let new = self.take(value.into());
                    let room = &mut bytes[at..];
                    let len = new.len().min(room.len());
                    room[..len].copy_from_slice(&new[..len]);
                }
                _ => {}
            }
        }
    }
}
