//! Messages in fragments, as those deploy them who announce it by the vendor ID FRAGMENTATION: no RFC has it.
//!
//! A fragment is a message of its own in the clear, with one payload that holds a piece of the whole: header, ciphertext
//! and all. **Nothing authenticates it**, so whoever can send a datagram can spoil a reassembly, and can make us keep
//! things. Therefore one message at a time is put together for an SA, in one buffer, of at most [`MAX_FRAGMENTS`] pieces,
//! and what comes out is treated as any datagram.

use ipsec_core::bytes::{self, Reader, Writer};
use ipsec_core::crypto::Provider;
use ipsec_core::path::Path;
use zeroize::Zeroize;

use crate::buffers::BufferId;
use crate::engine::{Env, Ike, Transmit};
use crate::error::{BufferTooSmall, DatagramError};
use crate::exchange;
use crate::fragment::{self, KEPT};
use crate::wire::NoRoom;
use crate::wire::v1::{Flags, FragmentPayload, Header, Message, MessageWriter, PayloadType};

/// The most fragments of one message of the peer's: bounds the work of putting them together.
pub(crate) const MAX_FRAGMENTS: u8 = 32;

/// Headers of a fragment: that of ISAKMP, of the payload, and of the piece.
const AROUND: usize = 28 + 4 + 4;
/// What a buffer with fragments begins with.
const HEAD: usize = 4;

/// What has become of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// Others are missing still; so many bytes of the buffer are in use.
    Kept(usize),
    /// All are there; so many bytes of the buffer are in use. [`assemble`] puts them together.
    Complete(usize),
    /// It has come before, or is too long. Nothing has changed.
    Ignored,
}

/// What is known of the message whose pieces lie in a buffer.
#[derive(Clone, Copy)]
struct Partial {
    id: u16,
    /// How many there are, 0 while nobody knows.
    total: u8,
    /// How many lie here.
    count: u8,
}

/// Adds a fragment to those in the first `used` bytes of `buffer`, none at first. One of another message than they are
/// takes their place: whoever sends it has given the older one up. So does one that contradicts them, or has no room
/// beside them: then somebody else has sent some of them, and the peer will send its own again.
pub(crate) fn add(buffer: &mut [u8], used: usize, fragment: &FragmentPayload<'_>) -> Added {
    keep(buffer, used, fragment).unwrap_or(Added::Ignored)
}

fn keep(buffer: &mut [u8], used: usize, fragment: &FragmentPayload<'_>) -> Option<Added> {
    (fragment.number <= MAX_FRAGMENTS).then_some(())?;
    let needed = fragment.data.len().checked_add(3)?;
    let (mut partial, mut end) = place(buffer.get(..used)?, fragment)?;
    if buffer.len() < end.checked_add(needed)? {
        (partial, end) = Partial::alone(fragment);
    }
    let mut w = Writer::at(buffer, end);
    (w.room().len() >= needed).then_some(())?;
    w.u8(fragment.number)?;
    w.u16(u16::try_from(fragment.data.len()).ok()?)?;
    w.bytes(fragment.data)?;
    let used = w.len();
    if fragment.last {
        partial.total = fragment.number;
    }
    partial.count = partial.count.checked_add(1)?;
    let [high, low] = partial.id.to_be_bytes();
    bytes::copy_prefix(buffer, &[high, low, partial.total, partial.count])?;
    Some(if partial.count == partial.total { Added::Complete(used) } else { Added::Kept(used) })
}

/// Where a fragment goes, behind those in `stored` or in their place; `None` if it has come before.
fn place(stored: &[u8], fragment: &FragmentPayload<'_>) -> Option<(Partial, usize)> {
    let alone = Partial::alone(fragment);
    let Some((partial, pieces)) = Partial::of(stored).filter(|(p, _)| p.id == fragment.id) else {
        return Some(alone);
    };
    let mut highest = 0;
    for (number, data) in pieces {
        if number == fragment.number {
            let is_last = partial.total == number;
            return (data != fragment.data || is_last != fragment.last).then_some(alone);
        }
        highest = highest.max(number);
    }
    // The last says how many there are: none may lie beyond it.
    let fits = match fragment.last {
        true => partial.total == 0 && highest < fragment.number,
        false => partial.total == 0 || fragment.number < partial.total,
    };
    Some(if fits { (partial, stored.len()) } else { alone })
}

/// Puts the message together whose fragments are all in `stored`. Gives its length; `None` if there is no room, or if
/// the whole is not one message of IKEv1, or a fragment again.
pub(crate) fn assemble(stored: &[u8], out: &mut [u8]) -> Option<usize> {
    let (partial, _) = Partial::of(stored)?;
    let mut w = Writer::new(out);
    for wanted in 1..=partial.total {
        let (_, mut pieces) = Partial::of(stored)?;
        let (_, piece) = pieces.find(|(number, _)| *number == wanted)?;
        w.bytes(piece)?;
    }
    let message = Message::parse(w.written()).ok()?;
    (message.header.next_payload != PayloadType::FRAGMENT).then_some(message.bytes().len())
}

impl Partial {
    /// Of a message of which nothing has come before this fragment, and where that goes.
    const fn alone(fragment: &FragmentPayload<'_>) -> (Self, usize) {
        (Self { id: fragment.id, total: 0, count: 0 }, HEAD)
    }

    fn of(stored: &[u8]) -> Option<(Self, impl Iterator<Item = (u8, &[u8])>)> {
        let mut r = Reader::new(stored);
        let partial = Self { id: r.u16()?, total: r.u8()?, count: r.u8()? };
        let pieces = core::iter::from_fn(move || {
            let number = r.u8()?;
            let len = r.u16()?;
            Some((number, r.take(len.into())?))
        });
        Some((partial, pieces))
    }
}

/// How many fragments of at most `longest` bytes a message of `len` bytes makes; `None` if it makes too many.
pub(crate) fn count(len: usize, longest: usize) -> Option<u8> {
    let piece = longest.checked_sub(AROUND).filter(|piece| *piece > 0)?;
    let count = len.checked_add(piece)?.checked_sub(1)?.checked_div(piece)?;
    u8::try_from(count).ok().filter(|count| *count <= MAX_FRAGMENTS)
}

/// Writes the fragment `number`, from 1, of a whole message. Gives its length.
pub(crate) fn write(
    out: &mut [u8],
    message: &[u8],
    id: u16,
    number: u8,
    longest: usize,
) -> Result<usize, NoRoom> {
    let whole = Message::parse(message).map_err(|_| NoRoom)?.header;
    let total = count(message.len(), longest).ok_or(NoRoom)?;
    let piece = longest.checked_sub(AROUND).ok_or(NoRoom)?;
    let at = usize::from(number).checked_sub(1).and_then(|n| n.checked_mul(piece)).ok_or(NoRoom)?;
    let rest = message.get(at..).ok_or(NoRoom)?;
    let data = rest.get(..piece).unwrap_or(rest);
    let header = Header { flags: Flags(0), ..whole };
    let mut w = MessageWriter::new(out, &header)?;
    w.fragment(&FragmentPayload { id, number, last: number == total, data })?;
    w.finish()
}

/// Bytes in front of the fragments in their buffer: when they are given up.
const UNTIL: usize = 8;

impl<P: Provider> Ike<'_, P> {
    /// Takes a fragment, and the whole message if it was the last that was missing.
    ///
    /// It must have come from the peer's address. Its buffer is one that nothing else needs soon, and is given back after
    /// a minute.
    pub(super) fn v1_fragment_received(
        &mut self,
        env: &mut Env<'_>,
        number: u32,
        path: Path,
        datagram: &[u8],
    ) -> Result<(), DatagramError> {
        let peer = self.peer_of(number).ok_or(DatagramError::Stale)?;
        if !fragment::is_wanted(peer, self.assembly) {
            return Err(DatagramError::Unexpected);
        }
        let piece = Message::parse(datagram)?.collect()?.fragment;
        let piece = piece.ok_or(DatagramError::Unexpected)?;
        let may_park = self.may_park();
        let sa = self.sas.get_mut(number as usize).map(|slot| &mut slot.sa);
        let sa = sa.ok_or(DatagramError::Stale)?;
        if sa.path.remote.address != path.remote.address {
            return Err(DatagramError::Unexpected);
        }
        let slot = sa.partial_mut(false);
        if slot.is_none() {
            *slot = may_park.then(|| self.buffers.take()).flatten().ok_or(DatagramError::NoRoom)?;
        }
        let id = *slot;
        let used = self.buffers.bytes(id).len().saturating_sub(UNTIL);
        let buffer = self.buffers.bytes_mut(id);
        let (until, pieces) = buffer.split_first_chunk_mut().ok_or(DatagramError::NoRoom)?;
        let added = add(pieces, used, &piece);
        let (used, complete) = match added {
            Added::Kept(used) => (used, false),
            Added::Complete(used) => (used, true),
            Added::Ignored => {
                if used == 0 {
                    self.forget_partial(number, false);
                }
                return Err(DatagramError::Stale);
            }
        };
        *until = env.now.after(KEPT).as_micros().to_be_bytes();
        self.buffers.set_len(id, used.saturating_add(UNTIL));
        if !complete {
            self.schedule_sa(env.now, number);
            return Ok(());
        }
        let assembly = core::mem::take(&mut self.assembly);
        let whole = self.buffers.bytes(id).get(UNTIL..).and_then(|all| assemble(all, assembly));
        self.forget_partial(number, false);
        let taken = match whole.and_then(|len| assembly.get_mut(..len)) {
            Some(whole) => self.v1_datagram(env, path, whole),
            None => Err(DatagramError::NoRoom),
        };
        assembly.zeroize();
        self.assembly = assembly;
        taken
    }

    /// How long the fragments are in which a message is sent; `None`: it is sent whole.
    pub(crate) fn v1_cut(&self, number: u32, message: BufferId, path: Path) -> Option<usize> {
        let x = self.contexts.exchange(number).filter(|_| fragment::LINKED)?;
        let sa = &self.sas.get(x.sa as usize)?.sa;
        if !matches!(x.kind, exchange::Kind::V1(_)) || !sa.fragments {
            return None;
        }
        let longest = fragment::longest(self.peer_of(x.sa)?, path)?;
        let len = self.buffers.bytes(message).len();
        (len > longest && count(len, longest).is_some()).then_some(longest)
    }

    /// The next fragment of a message, and whether there are more.
    pub(crate) fn v1_fragment(
        &mut self,
        number: u32,
        message: BufferId,
        path: Path,
        longest: usize,
        buf: &mut [u8],
    ) -> Result<(Option<Transmit>, bool), BufferTooSmall> {
        let marker = self.marker(path);
        let needed = marker.len().saturating_add(longest);
        let message = self.buffers.bytes(message);
        let total = count(message.len(), longest).unwrap_or(0);
        let Some(x) = self.contexts.get(number) else { return Ok((None, false)) };
        let next = u8::try_from(x.sent).unwrap_or(0).saturating_add(1);
        let out = buf.get_mut(..needed).ok_or(BufferTooSmall { needed })?;
        x.sent = if next < total { next.into() } else { 0 };
        let (head, out) = out.split_at_mut_checked(marker.len()).unwrap_or_default();
        let _ = bytes::copy(head, marker);
        let written = write(out, message, id_of(message), next, longest);
        let len = written.ok().map(|len| len.saturating_add(marker.len()));
        Ok((len.map(|len| Transmit { path, len }), next < total))
    }
}

/// Tells the fragments of different messages apart, and is the same when a message is sent again.
fn id_of(message: &[u8]) -> u16 {
    message.last_chunk().map_or(1, |last| u16::from_be_bytes(*last) | 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v1::testdata::CONVERSATIONS;

    extern crate std;
    use std::vec::Vec;

    fn pieces(message: &[u8], id: u16, longest: usize) -> Vec<Vec<u8>> {
        let total = count(message.len(), longest).unwrap();
        let one = |number| {
            let mut out = [0; 2048];
            let len = write(&mut out, message, id, number, longest).unwrap();
            assert!(len <= longest);
            out[..len].to_vec()
        };
        (1..=total).map(one).collect()
    }

    fn put(buffer: &mut [u8], used: &mut usize, datagram: &[u8]) -> Added {
        let fragment = Message::parse(datagram).unwrap().collect().unwrap().fragment.unwrap();
        let added = add(buffer, *used, &fragment);
        if let Added::Kept(now) | Added::Complete(now) = added {
            *used = now;
        }
        added
    }

    fn message() -> Vec<u8> {
        CONVERSATIONS[0].said[4].datagram()
    }

    #[test]
    fn whatever_the_order() {
        let message = message();
        for longest in [40, 64, 100, 4096] {
            for reversed in [false, true] {
                let mut pieces = pieces(&message, 7, longest);
                if reversed {
                    pieces.reverse();
                }
                let (mut buffer, mut used) = ([0; 1024], 0);
                let (last, first) = pieces.split_last().unwrap();
                for piece in first {
                    assert!(matches!(put(&mut buffer, &mut used, piece), Added::Kept(_)));
                    assert_eq!(put(&mut buffer, &mut used, piece), Added::Ignored, "twice");
                    assert_eq!(assemble(&buffer[..used], &mut [0; 1024]), None, "too early");
                }
                assert!(matches!(put(&mut buffer, &mut used, last), Added::Complete(_)));
                let mut whole = [0; 1024];
                let len = assemble(&buffer[..used], &mut whole).unwrap();
                assert_eq!(whole[..len], message);
                assert_eq!(assemble(&buffer[..used], &mut whole[..message.len() - 1]), None);
            }
        }
    }

    #[test]
    fn another_message_takes_the_place() {
        let message = message();
        let (mut buffer, mut used) = ([0; 1024], 0);
        put(&mut buffer, &mut used, &pieces(&message, 1, 64)[0]);
        for piece in pieces(&message, 2, 64) {
            assert_ne!(put(&mut buffer, &mut used, &piece), Added::Ignored);
        }
        assert!(assemble(&buffer[..used], &mut [0; 1024]).is_some());
    }

    /// Whatever one forged fragment says, the message comes together when its own have been sent once more.
    #[test]
    fn one_that_contradicts_takes_the_place() {
        const DATA: [[u8; 2]; 5] = [[0; 2], [1; 2], [2; 2], [3; 2], [4; 2]];
        let fragment =
            |number, last, data: usize| FragmentPayload { id: 1, number, last, data: &DATA[data] };
        let forged = [
            fragment(1, false, 0),
            fragment(1, true, 1),
            fragment(2, true, 2),
            fragment(3, true, 0),
            fragment(3, false, 3),
            fragment(4, true, 4),
            fragment(4, false, 4),
            FragmentPayload { data: &[0; 50], ..fragment(4, false, 0) },
        ];
        for forged in forged {
            for at in 0..3 {
                let (mut buffer, mut used) = ([0; 60], 0);
                let mut complete = 0;
                let own = [1, 2, 3].map(|number| fragment(number, number == 3, number.into()));
                for round in 0..2 {
                    for (i, own) in own.iter().enumerate() {
                        let forged = Some(&forged).filter(|_| round == 0 && i == at);
                        for fragment in forged.into_iter().chain([own]) {
                            match add(&mut buffer, used, fragment) {
                                Added::Kept(now) => used = now,
                                Added::Complete(now) => {
                                    let pieces = Partial::of(&buffer[..now]).unwrap().1;
                                    let mut all: Vec<_> = pieces.collect();
                                    all.sort();
                                    let whole =
                                        all == [(1, &[1; 2][..]), (2, &[2; 2]), (3, &[3; 2])];
                                    complete += u32::from(whole);
                                    used = 0;
                                }
                                Added::Ignored => {}
                            }
                        }
                    }
                }
                assert!(complete >= 1, "{forged:?} {at}");
            }
        }
    }

    #[test]
    fn what_is_too_long_is_ignored() {
        let fragment = |number| FragmentPayload { id: 1, number, last: false, data: &[1; 50] };
        let mut buffer = [0; 56];
        assert_eq!(add(&mut buffer, 0, &fragment(1)), Added::Ignored);
        assert_eq!(add(&mut buffer, 0, &fragment(MAX_FRAGMENTS + 1)), Added::Ignored);
        assert_eq!(buffer, [0; 56]);
    }

    #[test]
    fn a_fragment_of_fragments_is_refused() {
        let inner = pieces(&message(), 1, 100).remove(0);
        let (mut buffer, mut used) = ([0; 1024], 0);
        for piece in pieces(&inner, 2, 64) {
            assert_ne!(put(&mut buffer, &mut used, &piece), Added::Ignored);
        }
        assert_eq!(assemble(&buffer[..used], &mut [0; 1024]), None);
    }

    #[test]
    fn work_and_memory_are_bounded() {
        assert_eq!(count(4000, 100), None);
        assert_eq!(count(100, AROUND), None);
        assert_eq!(count(65, 100), Some(2));
        let mut buffer = [0; 64];
        for number in 1..=u8::MAX {
            let fragment = FragmentPayload { id: 1, number, last: false, data: &[0; 40] };
            let added = add(&mut buffer, 0, &fragment);
            assert_eq!(added == Added::Ignored, number > MAX_FRAGMENTS);
        }
        assert_eq!(
            add(&mut [], 0, &FragmentPayload { id: 1, number: 1, last: true, data: &[1] }),
            Added::Ignored
        );
    }
}
