//! Fragments (RFC 7383) of strangers, of somebody on the path, and of a peer that has the keys and has gone mad: what they
//! cost, and that they change nothing.

use core::time::Duration;

use ipsec::{DatagramError, Failure, GatewayEvent, IkeKeysLog, InboundError, Statistics};
use ipsec_core::crypto::{PacketCipher, Work};
use ipsec_ike::wire::{
    ExchangeType, Flags, Fragment, Header, Message, MessageWriter, Notify, NotifyType, PayloadType,
    WireError,
};
use ipsec_testkit::link::{Datagram, Verdict, Weather};
use ipsec_testkit::pair::{Memory, Pair};
use ipsec_testkit::setup::{Setup, Side};
use ipsec_testkit::toy::ToyCipher;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Both sides tell their keys, nobody asks whether the other lives, and every message but the shortest is in fragments.
fn setup() -> Setup {
    let mut setup = Setup::new(1).peers(|peer| {
        peer.fragment_size = Some(256);
        peer.liveness = None;
    });
    for side in Side::BOTH {
        setup.plan(side).config.ike.key_log = true;
    }
    setup
}

/// A, gone mad: it asks B for something, in fragments of its own making.
struct Insider {
    keys: IkeKeysLog,
    template: Datagram,
    counter: u64,
}

impl Insider {
    fn new(pair: &Pair<'_>) -> Self {
        let keys = pair.a.events.iter().find_map(|(_, event)| match event {
            GatewayEvent::IkeKeys(keys) => Some(keys.clone()),
            _ => None,
        });
        let mut sent = pair.link.tap().iter().map(|c| &c.datagram);
        let template = sent.rfind(|d| d.source.address == pair.a.address);
        Self { keys: keys.unwrap(), template: template.unwrap().clone(), counter: 1 << 40 }
    }

    /// A message whose text is written by `fill`, and sealed.
    fn message(
        &mut self,
        header: &Header,
        fragment: Option<(PayloadType, Fragment)>,
        text: &[u8],
    ) -> Datagram {
        let shape = self.keys.suite.shape().unwrap();
        let mut buf = vec![0; text.len() + 200];
        let writer = MessageWriter::new(&mut buf, header).unwrap();
        let layout = match fragment {
            None => {
                let mut sk = writer.begin_sk(&shape).unwrap();
                sk.notify(&Notify::new(NotifyType(40_000), text)).unwrap();
                sk.finish().unwrap()
            }
            Some((first, fragment)) => {
                let mut skf = writer.begin_skf(&shape, first, fragment).unwrap();
                skf.keep(text.len()).unwrap();
                let layout = skf.finish().unwrap();
                buf[layout.text()][..text.len()].copy_from_slice(text);
                layout
            }
        };
        buf.truncate(layout.len());
        self.counter += 1;
        let (key, salt) = self.keys.encryption_i().split_at(shape.key_len);
        let cipher = ToyCipher::new(self.keys.suite, key, self.keys.integrity_i()).unwrap();
        let parts = layout.parts(&mut buf).unwrap();
        parts.iv.copy_from_slice(&self.counter.to_be_bytes());
        let nonce = [salt, parts.iv].concat();
        let work =
            Work { nonce: &nonce, head: parts.head, text: parts.text, tail: &[], icv: parts.icv };
        cipher.seal(work).unwrap();
        Datagram { bytes: buf, ..self.template.clone() }
    }

    fn header(&self, message_id: u32) -> Header {
        let (spi_i, spi_r) = (self.keys.initiator_spi, self.keys.responder_spi);
        Header::new(spi_i, spi_r, ExchangeType::INFORMATIONAL, Flags::INITIATOR, message_id)
    }

    /// A fragment of an INFORMATIONAL request with a notify that nobody knows.
    fn fragment(&mut self, message_id: u32, number: u16, total: u16, text: &[u8]) -> Datagram {
        let header = self.header(message_id);
        let first = if number == 1 { PayloadType::NOTIFY } else { PayloadType::NONE };
        self.message(&header, Some((first, Fragment { number, total })), text)
    }
}

/// A notify payload that nobody knows, of `len` bytes.
fn notify(len: usize) -> Vec<u8> {
    let mut payload = vec![0x55; len];
    let [high, low] = u16::try_from(len).unwrap().to_be_bytes();
    payload[..8].copy_from_slice(&[0, 0, high, low, 0, 0, 0x9c, 0x40]);
    payload
}

/// Gives B a datagram. What it says, how many of its buffers that takes, and how many datagrams it answers with.
fn give(pair: &mut Pair<'_>, datagram: &Datagram) -> (Result<(), DatagramError>, isize, usize) {
    let (errors, sent, before) =
        (pair.b.errors.len(), pair.link.tap().len(), pair.b.statistics().buffers_free);
    pair.deliver(Side::B, datagram);
    let said = match &pair.b.errors[errors..] {
        [] => Ok(()),
        [(_, InboundError::Ike(e))] => Err(*e),
        other => panic!("{other:?}"),
    };
    let taken = before.cast_signed() - pair.b.statistics().buffers_free.cast_signed();
    (said, taken, pair.link.tap().len() - sent)
}

const KEPT: (Result<(), DatagramError>, isize, usize) = (Ok(()), 1, 0);
const ADDED: (Result<(), DatagramError>, isize, usize) = (Ok(()), 0, 0);
const ANSWERED: (Result<(), DatagramError>, isize, usize) = (Ok(()), -1, 1);

fn refused(error: DatagramError) -> (Result<(), DatagramError>, isize, usize) {
    (Err(error), 0, 0)
}

/// A and B, up, and A gone mad; the message ID of its next request is 2.
fn with_insider(test: impl FnOnce(&mut Pair<'_>, &mut Insider)) {
    let setup = setup();
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.run_for(SECOND);
    let mut insider = Insider::new(&pair);
    // The last response takes a buffer, which the next one then has.
    let whole = insider.header(2);
    let whole = insider.message(&whole, None, b"");
    assert_eq!(give(&mut pair, &whole).0, Ok(()), "{}", pair.log());
    test(&mut pair, &mut insider);
    pair.run_for(SECOND);
    pair.ping();
    pair.close_all(Side::B);
    pair.run_for(20 * MINUTE);
    pair.b.assert_empty();
}

/// RFC 7383 section 2.6: fragments in any order make a message, which is answered once.
#[test]
fn fragments_in_any_order() {
    with_insider(|pair, insider| {
        let text = notify(100);
        let parts: Vec<_> = text.chunks(34).collect();
        let orders = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]];
        for (id, order) in (3..).zip(orders) {
            let [a, b, c] = order.map(|n| insider.fragment(id, n, 3, parts[usize::from(n) - 1]));
            assert_eq!(give(pair, &a), KEPT, "{order:?}");
            assert_eq!(give(pair, &b), ADDED);
            assert_eq!(give(pair, &c), ANSWERED);
        }
        // One fragment may be the whole message, and parts may be empty.
        let only = insider.fragment(9, 1, 1, &text);
        let (said, _, answers) = give(pair, &only);
        assert_eq!((said, answers), (Ok(()), 1));
        let empty = [insider.fragment(10, 1, 2, &text), insider.fragment(10, 2, 2, &[])];
        assert_eq!([give(pair, &empty[0]), give(pair, &empty[1])], [KEPT, ANSWERED]);
    });
}

/// RFC 7383 section 2.6: fragments that were there before, or are of an earlier cut, are dropped; a greater total begins
/// anew.
#[test]
fn duplicates_and_other_totals() {
    with_insider(|pair, insider| {
        let text = notify(80);
        let first = insider.fragment(3, 1, 2, &text[..40]);
        assert_eq!(give(pair, &first), KEPT);
        assert_eq!(give(pair, &first), refused(DatagramError::Stale));
        // The same number with other contents.
        let other = insider.fragment(3, 1, 2, &text[..41]);
        assert_eq!(give(pair, &other), refused(DatagramError::Stale));
        // Cut into less.
        let fewer = insider.fragment(3, 1, 1, &text);
        assert_eq!(give(pair, &fewer), refused(DatagramError::Stale));
        // Cut into more, which has to be authentic to count.
        let parts: Vec<_> = text.chunks(20).collect();
        let more: Vec<_> =
            (1..=4).zip(&parts).map(|(n, part)| insider.fragment(3, n, 4, part)).collect();
        let mut forged = more[3].clone();
        *forged.bytes.last_mut().unwrap() ^= 1;
        assert_eq!(give(pair, &forged), refused(DatagramError::Integrity));
        for fragment in &more[1..] {
            assert_eq!(give(pair, fragment), ADDED);
        }
        let rest = insider.fragment(3, 2, 2, &text[40..]);
        assert_eq!(give(pair, &rest), refused(DatagramError::Stale));
        assert_eq!(give(pair, &more[0]), ANSWERED);
        // It has been answered: its first fragment asks for the answer again, and no other does.
        assert_eq!(give(pair, &more[0]), (Ok(()), 0, 1));
        assert_eq!(give(pair, &first), (Ok(()), 0, 1));
        assert_eq!(give(pair, &more[3]), refused(DatagramError::Stale));
    });
}

/// RFC 7383 section 2.5: numbers from one to the total, and the first payload only in the first fragment.
#[test]
fn fragments_that_break_the_rules() {
    let malformed = DatagramError::Wire(WireError::Malformed(PayloadType::SKF));
    with_insider(|pair, insider| {
        let text = notify(80);
        for (number, total) in [(0, 0), (0, 1), (2, 1), (3, 2), (u16::MAX, 1)] {
            let fragment = insider.fragment(3, number, total, &text);
            assert_eq!(give(pair, &fragment), refused(malformed), "{number}/{total}");
        }
        // More than anybody needs: before any work is spent on it.
        for total in [65, 1000, u16::MAX] {
            let fragment = insider.fragment(3, 1, total, &text);
            assert_eq!(give(pair, &fragment), refused(DatagramError::NoRoom), "{total}");
        }
        let second = Fragment { number: 2, total: 2 };
        let header = insider.header(3);
        let named = insider.message(&header, Some((PayloadType::NOTIFY, second)), &text);
        assert_eq!(give(pair, &named), refused(DatagramError::Unexpected));
        // Of another message: of the past, of the future, and an answer to nothing.
        for id in [0, 1, 4, u32::MAX] {
            let fragment = insider.fragment(id, 1, 2, &text);
            assert_eq!(give(pair, &fragment), refused(DatagramError::Stale), "{id}");
        }
        let header = Header { flags: Flags::INITIATOR.union(Flags::RESPONSE), ..header };
        let first = Fragment { number: 1, total: 2 };
        let answer = insider.message(&header, Some((PayloadType::NOTIFY, first)), &text);
        assert_eq!(give(pair, &answer), refused(DatagramError::Stale));
        // A message inside a fragment is looked at as any other is.
        let bad = [insider.fragment(3, 1, 2, &[0, 0, 0]), insider.fragment(3, 2, 2, &[99, 0])];
        assert_eq!(give(pair, &bad[0]), KEPT);
        let (said, _, answers) = give(pair, &bad[1]);
        assert!(matches!(said, Err(DatagramError::Wire(_))), "{said:?}");
        // INVALID_SYNTAX, as for a whole message.
        assert_eq!(answers, 1);
    });
}

/// Fragments that never become a message are given up, and so is a message that is longer than a buffer.
#[test]
fn fragments_without_end() {
    with_insider(|pair, insider| {
        let text = notify(600);
        let first = insider.fragment(3, 1, 3, &text);
        assert_eq!(give(pair, &first), KEPT);
        pair.run_for(50 * SECOND);
        let second = insider.fragment(3, 2, 3, &text);
        assert_eq!(give(pair, &second), ADDED);
        pair.run_for(50 * SECOND);
        assert_eq!(give(pair, &second), refused(DatagramError::Stale));
        let before = pair.b.statistics().buffers_free;
        pair.run_for(20 * SECOND);
        assert_eq!(pair.b.statistics().buffers_free, before + 1);
        // 64 fragments, of which nine fill a buffer of 1500 bytes.
        let pieces: Vec<_> = (1..=9).map(|n| insider.fragment(3, n, 64, &text[..180])).collect();
        assert_eq!(give(pair, &pieces[0]), KEPT);
        for piece in &pieces[1..8] {
            assert_eq!(give(pair, piece), ADDED);
        }
        assert_eq!(give(pair, &pieces[8]), (Err(DatagramError::NoRoom), -1, 0));
        assert_eq!(pair.b.failures(), [Failure::TooLong]);
    });
}

/// The same message whole and in fragments: what is complete first counts, and the rest is forgotten.
#[test]
fn whole_and_in_fragments() {
    with_insider(|pair, insider| {
        let first = insider.fragment(3, 1, 2, &notify(40));
        let header = insider.header(3);
        let whole = insider.message(&header, None, b"whole");
        assert_eq!(give(pair, &first), KEPT);
        assert_eq!(give(pair, &whole), ANSWERED);
        let second = insider.fragment(3, 2, 2, &[]);
        assert_eq!(give(pair, &second), refused(DatagramError::Stale));
        // Again, whole: the same response.
        assert_eq!(give(pair, &whole), (Ok(()), 0, 1));
    });
}

/// Who has not agreed to fragments is not sent any, not even by a peer that has the keys.
#[test]
fn fragments_that_were_not_agreed_on() {
    let mut setup = setup();
    setup.b.peers[0].fragment_size = None;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.run_for(SECOND);
    let mut insider = Insider::new(&pair);
    for (number, total) in [(1, 1), (1, 2), (2, 2)] {
        let fragment = insider.fragment(2, number, total, &notify(40));
        assert_eq!(give(&mut pair, &fragment), refused(DatagramError::Unexpected));
    }
    pair.close_and_check(Side::A);
}

/// A flood of forged fragments, of a half-open SA and of one that is up: nothing changes, and the true ones get through.
#[test]
fn a_flood_of_forged_fragments_takes_nothing() {
    let setup = setup();
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    let unchanged = |now: Statistics, before: Statistics| assert_eq!(now, before);
    pair.on_arrival = Some(Box::new(move |node, now, datagram| {
        let message = match &datagram.bytes[..] {
            [0, 0, 0, 0, message @ ..] if datagram.source.port != 500 => message,
            message => message,
        };
        let Ok(message) = Message::parse(message) else { return };
        let Ok(collected) = message.collect() else { return };
        if collected.encrypted.is_none_or(|e| e.fragment.is_none()) {
            return;
        }
        let before = node.statistics();
        let skf = datagram.bytes.len() - message.bytes().len() + 28;
        for forged in 0..100u8 {
            let mut copy = datagram.clone();
            let len = copy.bytes.len();
            match forged % 4 {
                0 => copy.bytes[len - 1] ^= 1 + forged,
                // Another number, another total, another text.
                1 => copy.bytes[skf + 5] = 1 + forged % 60,
                2 => copy.bytes[skf + 7] = copy.bytes[skf + 5].max(1 + forged % 60),
                _ => copy.bytes[skf + 20] ^= 1 + forged,
            }
            if copy.bytes != datagram.bytes {
                assert!(node.take(now, &copy).is_err());
            }
        }
        unchanged(node.statistics(), before);
    }));
    pair.bring_up();
    for side in [Side::A, Side::B] {
        pair.rekey_ike(side).unwrap();
        pair.run_for(SECOND);
        pair.ping();
    }
    assert_eq!((pair.a.ike_rekeys(), pair.b.ike_rekeys()), (2, 2));
    assert!(pair.a.failures().is_empty() && pair.b.failures().is_empty());
    pair.close_and_check(Side::A);
}

/// Initiators that never send their last fragment: each holds what a half-open exchange may, until it is given up.
#[test]
fn half_open_exchanges_without_their_last_fragment() {
    let setup = setup().weather(Weather::FAIR);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.link.set_hook(|_, datagram| {
        let message = match &datagram.bytes[..] {
            [0, 0, 0, 0, message @ ..] => message,
            message => message,
        };
        let encrypted = Message::parse(message).ok().and_then(|m| m.collect().ok()?.encrypted);
        match encrypted.and_then(|e| e.fragment) {
            Some(fragment) if fragment.number == fragment.total => Verdict::Drop,
            _ => Verdict::Pass,
        }
    });
    let all = pair.b.statistics().buffers_free;
    pair.initiate(Side::A).unwrap();
    pair.run_for(5 * SECOND);
    // The two messages of IKE_SA_INIT, and the fragments.
    assert_eq!(pair.b.statistics().buffers_free, all - 3, "{}", pair.log());
    pair.run_for(MINUTE);
    pair.b.assert_empty();
    pair.run_for(10 * MINUTE);
    pair.a.assert_empty();
    pair.link.clear_hook();
    pair.bring_up();
    pair.close_and_check(Side::B);
}
