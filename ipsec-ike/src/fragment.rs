//! Messages in fragments (RFC 7383), for paths that lose long datagrams.
//!
//! A message of ours is cut and sealed when it is written: its fragments lie one after another in its buffer. Of a
//! message of the peer's, the fragments lie in a buffer in the order in which they came, each authenticated before it is
//! kept, until all are there and the whole is put together in memory that only one message at a time needs.

use core::time::Duration;

use ipsec_core::bytes::{self, Reader, Writer};
use ipsec_core::crypto::{Provider, Shape};
use ipsec_core::path::Path;
use ipsec_core::time::Instant;

use crate::config::Peer;
use crate::engine::{Env, Ike};
use crate::error::DatagramError;
use crate::event::Failure;
use crate::ike_sa::IkeSa;
use crate::protect;
use crate::wire::{
    Encrypted, Fragment, Header, MessageWriter, NoRoom, PayloadType, SkLayout, strip_padding,
};

/// Whether all of this is linked.
pub(crate) const LINKED: bool = cfg!(feature = "fragments");
/// The shortest limit on packets: below, little but headers would fit.
const MIN_PACKET: u16 = 256;
/// Headers of UDP and of IPv4 or IPv6, without options, and the non-ESP marker.
const LOWER_HEADERS: (usize, usize) = (20 + 8 + 4, 40 + 8 + 4);
/// What an IPv6 path carries at least, less the headers of IPv6 and UDP: longer messages may get lost.
const WHOLE: usize = 1280 - 48;
/// The most fragments of one message of the peer's: bounds the work of putting them together.
const MAX_FRAGMENTS: u16 = 64;
/// Fragments of a request wait so long for the others, counted from the last.
pub(crate) const KEPT: Duration = Duration::from_secs(60);

/// The longest IKE message that fits into the packets that are allowed to this peer.
pub(crate) fn longest(peer: &Peer<'_>, path: Path) -> Option<usize> {
    let packet = usize::from(peer.fragment_size?.max(MIN_PACKET));
    let (v4, v6) = LOWER_HEADERS;
    packet.checked_sub(if path.remote.address.is_ipv4() { v4 } else { v6 })
}

/// Whether fragments are offered to a peer, and taken from it.
pub(crate) const fn is_wanted(peer: &Peer<'_>, assembly: &[u8]) -> bool {
    LINKED && peer.fragment_size.is_some() && !assembly.is_empty()
}

/// Bytes of the first of the messages that lie one after another: each says how long it is.
pub(crate) fn next_len(messages: &[u8]) -> usize {
    let header = if LINKED { Header::parse(messages).ok() } else { None };
    let len = header.and_then(|header| usize::try_from(header.length).ok());
    len.unwrap_or(usize::MAX).min(messages.len())
}

/// Where a message is cut.
struct Cut {
    /// Bytes of the inner payloads.
    inner: usize,
    /// How many of them are in every fragment but the last.
    part: usize,
    /// Bytes of every fragment but the last.
    len: usize,
    total: u16,
}

impl Cut {
    fn new(buffer: &[u8], layout: &SkLayout, shape: &Shape, longest: usize) -> Option<Self> {
        let inner = strip_padding(buffer.get(layout.text())?).ok()?.len();
        let around = FRAGMENT_HEADERS.checked_add(shape.iv_len)?.checked_add(shape.icv_len)?;
        let room = longest.checked_sub(around)?;
        let text = room.checked_sub(room.checked_rem(shape.block_len)?)?;
        // One byte says how much padding there is: none.
        let part = text.checked_sub(1)?;
        let total = u16::try_from(inner.checked_add(part)?.checked_sub(1)?.checked_div(part)?);
        Some(Self { inner, part, len: around.checked_add(text)?, total: total.ok()? })
    }
}

/// Bytes before the IV of a fragment: the headers of the message and of its only payload.
const FRAGMENT_HEADERS: usize = 28 + 8;

/// Makes fragments of at most `longest` bytes from a message that is not encrypted yet, whose header this is. Gives the
/// bytes of all of them together.
///
/// RFC 7383 section 2.5: each is a message with an encrypted payload of its own, and all have the same message ID.
pub(crate) fn seal<P: Provider>(
    sa: &mut IkeSa,
    header: &Header,
    layout: &SkLayout,
    longest: usize,
    buffer: &mut [u8],
) -> Result<usize, DatagramError> {
    let suite = sa.choice.suite;
    let shape = suite.shape().ok_or(DatagramError::Crypto)?;
    let first = layout.head().end.checked_sub(4).and_then(|at| buffer.get(at).copied());
    let first = PayloadType(first.ok_or(DatagramError::NoRoom)?);
    let cut = Cut::new(buffer, layout, &shape, longest).ok_or(DatagramError::NoRoom)?;
    let mut end = 0;
    // The last first: each moves towards the end, where none is left that has to move.
    for index in (0..cut.total).rev() {
        let fragment = Fragment { number: index.saturating_add(1), total: cut.total };
        let first = if index == 0 { first } else { PayloadType::NONE };
        let (layout, start) = place(buffer, header, layout, &shape, &cut, fragment, first)
            .map_err(|NoRoom| DatagramError::NoRoom)?;
        let message = buffer.get_mut(start..).ok_or(DatagramError::NoRoom)?;
        let counter = sa.next_iv();
        protect::seal::<P>(sa.keys.v2(), suite, sa.role(), counter, &layout, message)
            .map_err(|_| DatagramError::Crypto)?;
        end = end.max(start.saturating_add(layout.len()));
    }
    Ok(end)
}

/// Moves the text of a fragment to where it belongs, and writes its headers. Says where the message begins.
fn place(
    buffer: &mut [u8],
    header: &Header,
    whole: &SkLayout,
    shape: &Shape,
    cut: &Cut,
    fragment: Fragment,
    first: PayloadType,
) -> Result<(SkLayout, usize), NoRoom> {
    let index = usize::from(fragment.number).checked_sub(1).ok_or(NoRoom)?;
    let start = index.checked_mul(cut.len).ok_or(NoRoom)?;
    let taken = index.checked_mul(cut.part).ok_or(NoRoom)?;
    let len = cut.inner.checked_sub(taken).ok_or(NoRoom)?.min(cut.part);
    let from = whole.text().start.checked_add(taken).ok_or(NoRoom)?;
    let to = FRAGMENT_HEADERS.checked_add(shape.iv_len).and_then(|head| start.checked_add(head));
    bytes::move_within(buffer, from, to.ok_or(NoRoom)?, len).ok_or(NoRoom)?;
    let message = buffer.get_mut(start..).ok_or(NoRoom)?;
    let mut w = MessageWriter::new(message, header)?.begin_skf(shape, first, fragment)?;
    w.keep(len)?;
    Ok((w.finish()?, start))
}

/// The fragments of one message of the peer's, as they lie in a buffer: this, and then each as a [`Piece`].
#[derive(Clone, Copy)]
struct Partial {
    /// When they are given up.
    until: Instant,
    message_id: u32,
    total: u16,
    /// How many are there.
    count: u16,
    /// The first payload: the first fragment tells.
    first: PayloadType,
}

impl Partial {
    fn read(r: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            until: Instant::from_micros(r.u64()?),
            message_id: r.u32()?,
            total: r.u16()?,
            count: r.u16()?,
            first: PayloadType(r.u8()?),
        })
    }

    fn write(&self, w: &mut Writer<'_>) -> Option<()> {
        w.u64(self.until.as_micros())?;
        w.u32(self.message_id)?;
        w.u16(self.total)?;
        w.u16(self.count)?;
        w.u8(self.first.0)
    }

    /// Of the message that a buffer holds fragments of: what is known of it, and the fragments.
    fn of(stored: &[u8]) -> Option<(Self, impl Iterator<Item = Piece<'_>>)> {
        let mut r = Reader::new(stored);
        let partial = Self::read(&mut r)?;
        Some((partial, core::iter::from_fn(move || Piece::read(&mut r))))
    }
}

/// A fragment that is kept: a part of the inner payloads.
struct Piece<'b> {
    number: u16,
    text: &'b [u8],
}

impl<'b> Piece<'b> {
    fn read(r: &mut Reader<'b>) -> Option<Self> {
        let number = r.u16()?;
        let len = r.u16()?;
        Some(Self { number, text: r.take(usize::from(len))? })
    }

    fn write(&self, w: &mut Writer<'_>) -> Option<()> {
        w.u16(self.number)?;
        w.u16(u16::try_from(self.text.len()).ok()?)?;
        w.bytes(self.text)
    }
}

/// Adds a fragment to what `buffer` holds in its first `used` bytes. Says how many bytes that are then; `None` if there
/// is no room.
fn add(
    buffer: &mut [u8],
    used: usize,
    until: Instant,
    first: PayloadType,
    piece: &Piece<'_>,
) -> Option<usize> {
    let mut partial = Partial::read(&mut Reader::new(buffer))?;
    let mut w = Writer::at(buffer, used);
    piece.write(&mut w)?;
    let used = w.len();
    partial.until = until;
    partial.count = partial.count.checked_add(1)?;
    if piece.number == 1 {
        partial.first = first;
    }
    partial.write(&mut Writer::new(buffer))?;
    Some(used)
}

/// Puts the fragments together. Says how many bytes the inner payloads have, and the first of them.
fn assemble(stored: &[u8], out: &mut [u8]) -> Option<(usize, PayloadType)> {
    let (partial, _) = Partial::of(stored)?;
    let mut w = Writer::new(out);
    for number in 1..=partial.total {
        let (_, mut pieces) = Partial::of(stored)?;
        w.bytes(pieces.find(|piece| piece.number == number)?.text)?;
    }
    Some((w.len(), partial.first))
}

impl<'r, P: Provider> Ike<'r, P> {
    /// Whether a fragment is of use, before any work is spent on it. `again`: its message has been answered.
    pub(crate) fn is_fragment_wanted(
        &self,
        number: u32,
        header: &Header,
        encrypted: &Encrypted,
        again: bool,
    ) -> Result<(), DatagramError> {
        let Some(fragment) = encrypted.fragment else { return Ok(()) };
        if !LINKED {
            return Err(DatagramError::Unexpected);
        }
        let sa = self.sas.get(number as usize).map(|s| &s.sa).ok_or(DatagramError::UnknownSpi)?;
        // RFC 7383 section 2.5: only the first says what the inner payloads begin with.
        let first = fragment.number == 1 || encrypted.first == PayloadType::NONE;
        if !sa.fragments || !first {
            return Err(DatagramError::Unexpected);
        }
        if again {
            // RFC 7383 section 2.6.1: each fragment is repeated; the response is so once.
            return if fragment.number == 1 { Ok(()) } else { Err(DatagramError::Stale) };
        }
        if fragment.total > MAX_FRAGMENTS {
            return Err(DatagramError::NoRoom);
        }
        let stored = self.buffers.bytes(sa.partial(header.is_response()));
        let Some((partial, mut pieces)) = Partial::of(stored) else { return Ok(()) };
        // RFC 7383 section 2.6: with a greater total, the peer has begun anew with shorter ones.
        let known = partial.message_id == header.message_id
            && (fragment.total < partial.total
                || fragment.total == partial.total && pieces.any(|p| p.number == fragment.number));
        if known { Err(DatagramError::Stale) } else { Ok(()) }
    }

    /// Keeps a fragment that is authentic. Says whether the message is complete.
    pub(crate) fn keep_fragment(
        &mut self,
        env: &Env<'_>,
        number: u32,
        header: &Header,
        (first, fragment): (PayloadType, Fragment),
        text: &[u8],
    ) -> Result<bool, DatagramError> {
        let message_id = header.message_id;
        let total = fragment.total;
        let until = env.now.after(KEPT);
        let may_park = self.may_park();
        let sa = self.sas.get_mut(number as usize).map(|s| &mut s.sa);
        let sa = sa.ok_or(DatagramError::UnknownSpi)?;
        let of_stranger = !sa.initiator && !sa.is_authenticated();
        let slot = sa.partial_mut(header.is_response());
        let fits = Partial::of(self.buffers.bytes(*slot))
            .is_some_and(|(p, _)| p.message_id == message_id && p.total == total);
        if !fits {
            self.buffers.release(slot);
            if of_stranger && !may_park {
                return Err(DatagramError::NoRoom);
            }
            *slot = self.buffers.take().ok_or(DatagramError::NoRoom)?;
            let partial = Partial { until, message_id, total, count: 0, first: PayloadType::NONE };
            let mut w = Writer::new(self.buffers.bytes_mut(*slot));
            let begun = partial.write(&mut w).map_or(0, |()| w.len());
            self.buffers.set_len(*slot, begun);
        }
        let used = self.buffers.bytes(*slot).len();
        let piece = Piece { number: fragment.number, text };
        let Some(used) = add(self.buffers.bytes_mut(*slot), used, until, first, &piece) else {
            self.buffers.release(slot);
            return Err(DatagramError::NoRoom);
        };
        self.buffers.set_len(*slot, used);
        let complete = Partial::of(self.buffers.bytes(*slot))
            .is_some_and(|(partial, _)| partial.count == partial.total);
        if !complete {
            self.schedule_sa(env.now, number);
        }
        Ok(complete)
    }

    /// Puts the fragments of a message together in `out`, and gives back their buffer.
    pub(crate) fn assemble(
        &mut self,
        number: u32,
        header: &Header,
        out: &mut [u8],
    ) -> Option<(usize, PayloadType)> {
        let id = self.sas.get(number as usize)?.sa.partial(header.is_response());
        let whole = assemble(self.buffers.bytes(id), out);
        self.forget_partial(number, header.is_response());
        whole
    }

    /// Gives up the fragments of a message that is not complete.
    pub(crate) fn forget_partial(&mut self, number: u32, response: bool) {
        if let Some(slot) = self.sas.get_mut(number as usize).filter(|_| LINKED) {
            self.buffers.release(slot.sa.partial_mut(response));
        }
    }

    /// When the fragments of a request are given up.
    pub(crate) fn partial_until(&self, number: u32) -> Option<Instant> {
        let id = self.sas.get(number as usize).filter(|_| LINKED)?.sa.partial(false);
        // Those of both versions begin with it.
        Some(Instant::from_micros(Reader::new(self.buffers.bytes(id)).u64()?))
    }

    /// Bytes of the message of an exchange, if it had to be sent whole and many paths do not carry it.
    pub(crate) fn too_long_for_paths(&self, number: u32) -> Option<u32> {
        let x = self.contexts.exchange(number)?;
        let sa = &self.sas.get(x.sa as usize)?.sa;
        let len = self.buffers.bytes(x.message).len();
        (!sa.fragments && len > WHOLE).then(|| u32::try_from(len).unwrap_or(u32::MAX))
    }

    /// Tells that the fragments of a message do not fit into a buffer.
    pub(crate) fn tell_too_long(&mut self, number: u32, path: Path) {
        let peer = self.sa(number).map(|sa| sa.peer);
        self.refuse(peer, None, path, Failure::TooLong);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keymat::{AuthKeys, Role, Skeyseed};
    use crate::proposal::IkeChoice;
    use crate::wire::{ExchangeType, Flags, Message, Notify, NotifyType};
    use ipsec_core::crypto::{Encr, Group, Integ, PrfId, Suite};
    use ipsec_rustcrypto::RustCrypto;

    extern crate std;
    use std::vec::Vec;
    use std::{format, vec};

    const HEADER: Header = Header::new(3, 4, ExchangeType::IKE_AUTH, Flags::INITIATOR, 1);
    const UNTIL: Instant = Instant::from_secs(60);

    fn sa(suite: Suite) -> IkeSa {
        let mut sa = IkeSa::EMPTY;
        let choice = IkeChoice {
            suite,
            prf: PrfId::HMAC_SHA2_256,
            group: Group::X25519,
            ..IkeChoice::EMPTY
        };
        let mut auth = AuthKeys::EMPTY;
        let seed = Skeyseed::Initial { secret: b"shared" };
        let keys = sa.keys.v2_mut().unwrap();
        keys.derive::<RustCrypto>(&mut auth, &choice, seed, &[1; 16], &[2; 16], 3, 4).unwrap();
        (sa.choice, sa.initiator) = (choice, true);
        sa
    }

    /// A message with a notify of `len` bytes of data, not encrypted yet, in a buffer with room for its fragments.
    fn plain(suite: Suite, len: usize, room: usize) -> (Vec<u8>, SkLayout) {
        let mut buffer = vec![0xee; room];
        let data: Vec<u8> = (0..len).map(|i| i.to_le_bytes()[0]).collect();
        let writer = MessageWriter::new(&mut buffer, &HEADER).unwrap();
        let mut sk = writer.begin_sk(&suite.shape().unwrap()).unwrap();
        sk.notify(&Notify::new(NotifyType::COOKIE2, &data)).unwrap();
        let layout = sk.finish().unwrap();
        (buffer, layout)
    }

    /// The messages that lie one after another.
    fn messages(mut all: &[u8]) -> Vec<Vec<u8>> {
        let mut list = Vec::new();
        while !all.is_empty() {
            let len = Header::parse(all).unwrap().length;
            let (next, rest) = all.split_at(len.try_into().unwrap());
            list.push(next.to_vec());
            all = rest;
        }
        list
    }

    /// A fragment, opened.
    fn open(sa: &IkeSa, message: &mut [u8]) -> (PayloadType, Fragment, Vec<u8>) {
        let parsed = Message::parse(message).unwrap();
        assert_eq!(parsed.header.message_id, HEADER.message_id);
        let encrypted = parsed.collect().unwrap().encrypted.unwrap();
        let suite = sa.choice.suite;
        let layout = encrypted.layout(message.len(), &suite.shape().unwrap()).unwrap();
        protect::open::<RustCrypto>(sa.keys.v2(), suite, Role::Initiator, &layout, message)
            .unwrap();
        let text = strip_padding(&message[layout.text()]).unwrap().to_vec();
        (encrypted.first, encrypted.fragment.unwrap(), text)
    }

    fn stored(total: u16) -> Vec<u8> {
        let mut buffer = vec![0; 4096];
        let first = PayloadType::NONE;
        let partial = Partial { until: UNTIL, message_id: 1, total, count: 0, first };
        let mut w = Writer::new(&mut buffer);
        partial.write(&mut w).unwrap();
        buffer
    }

    /// RFC 7383 section 2.5: what was cut and sealed is the message again when it is opened and put together, in whatever
    /// order it arrives.
    #[test]
    fn what_was_cut_is_put_together() {
        let suites = [
            Suite::AES_128_GCM,
            Suite::CHACHA20_POLY1305,
            Suite::AES_128_CBC_SHA256,
            Suite { encr: Encr::AES_CBC, key_bits: 256, integ: Integ::HMAC_SHA2_512_256 },
        ];
        for suite in suites {
            for longest in [129, 200, 201, 215, 544] {
                for len in (0..40).chain(480..520).chain([1000]) {
                    let mut sa = sa(suite);
                    let (mut buffer, layout) = plain(suite, len, 4096);
                    let inner = strip_padding(&buffer[layout.text()]).unwrap().to_vec();
                    let end = seal::<RustCrypto>(&mut sa, &HEADER, &layout, longest, &mut buffer);
                    let mut fragments = messages(&buffer[..end.unwrap()]);
                    assert_eq!(u64::try_from(fragments.len()).unwrap(), sa.iv, "an IV each");
                    let total = u16::try_from(fragments.len()).unwrap();
                    let (mut collected, mut used) = (stored(total), 17);
                    for (n, fragment) in (1..=total).zip(&mut fragments).rev() {
                        let case = format!("{suite} {longest} {len} {n}/{total}");
                        assert!(fragment.len() <= longest, "{case}");
                        let (first, number, text) = open(&sa, fragment);
                        assert_eq!(number, Fragment { number: n, total }, "{case}");
                        let named = if n == 1 { PayloadType::NOTIFY } else { PayloadType::NONE };
                        assert_eq!(first, named, "{case}");
                        let piece = Piece { number: n, text: &text };
                        used = add(&mut collected, used, UNTIL, first, &piece).unwrap();
                    }
                    let mut out = vec![0; 1100];
                    let (len, first) = assemble(&collected[..used], &mut out).unwrap();
                    assert_eq!((&out[..len], first), (&inner[..], PayloadType::NOTIFY));
                    // Too little room for the whole is no room.
                    assert_eq!(assemble(&collected[..used], &mut out[..len - 1]), None);
                }
            }
        }
    }

    /// A buffer that is too short for the fragments, or a limit too short for their headers.
    #[test]
    fn too_little_room_for_fragments() {
        let suite = Suite::AES_128_GCM;
        let cut = |room, longest| {
            let (mut buffer, layout) = plain(suite, 400, room);
            seal::<RustCrypto>(&mut sa(suite), &HEADER, &layout, longest, &mut buffer)
        };
        let needed = cut(4096, 200).unwrap();
        assert_eq!(needed, 408 + 3 * (36 + 8 + 1 + 16));
        for room in 465..needed {
            assert_eq!(cut(room, 200), Err(DatagramError::NoRoom), "{room}");
        }
        assert_eq!(cut(needed, 200), Ok(needed));
        for longest in 0..=61 {
            assert_eq!(cut(40_000, longest), Err(DatagramError::NoRoom), "{longest}");
        }
        assert!(cut(40_000, 62).is_ok());
    }

    #[test]
    fn a_fragment_that_does_not_fit_changes_nothing_that_counts() {
        let mut buffer = stored(3);
        buffer.truncate(17 + 4 + 10 + 4 + 9);
        let piece = |number| Piece { number, text: &[7; 10] };
        let used = add(&mut buffer, 17, UNTIL, PayloadType::IDI, &piece(1)).unwrap();
        assert_eq!(used, 17 + 14);
        assert_eq!(add(&mut buffer, used, UNTIL, PayloadType::NONE, &piece(2)), None);
        let (partial, pieces) = Partial::of(&buffer[..used]).unwrap();
        assert_eq!((partial.count, partial.first, pieces.count()), (1, PayloadType::IDI, 1));
        // What is missing, or cut, is no message.
        let mut out = [0; 100];
        for used in 0..=used {
            assert_eq!(assemble(&buffer[..used], &mut out), None);
        }
    }

    /// RFC 7383 section 2.5.1: the limit is on the packet, with the headers around the message.
    #[test]
    fn the_longest_message_of_a_packet() {
        let mut peer = Peer::psk(
            (None, crate::identity::Identity::Any),
            (None, crate::identity::Identity::Any),
            b"",
        );
        let path = |address: &str| {
            let end = ipsec_core::path::Endpoint::new(address.parse().unwrap(), 500);
            Path::new(end, end)
        };
        assert_eq!(longest(&peer, path("192.0.2.1")), Some(1280 - 32));
        assert_eq!(longest(&peer, path("2001:db8::1")), Some(1280 - 52));
        peer.fragment_size = Some(0);
        assert_eq!(longest(&peer, path("2001:db8::1")), Some(256 - 52));
        peer.fragment_size = None;
        assert_eq!(longest(&peer, path("2001:db8::1")), None);
    }
}
