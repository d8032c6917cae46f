//! The games of [`ike_engine`](crate::ike_engine), played in IKEv1: Main Mode, or Aggressive Mode.

use ipsec_testkit::toy::Toy;

use crate::ike_engine::{self, pick};
use crate::input::Input;
use crate::isakmp::{Clear, IsakmpKeys};
use crate::pair::{Datagram, Pair, Shape};

/// Identity Protection, Aggressive, Informational, Transaction, Quick Mode, New Group.
const EXCHANGES: [u8; 6] = [32, 5, 6, 2, 4, 33];

/// Runs the target.
pub fn run(data: &[u8]) {
    ike_engine::play(data, Shape::of_v1);
}

/// The keys of all SAs that a side has told of, the last first.
fn keys<'p>(pair: &'p Pair<'_>) -> impl Iterator<Item = IsakmpKeys> + use<'p> {
    pair.sides.iter().flat_map(|side| &side.keys).rev().map(|keys| IsakmpKeys {
        cookies: keys.spis,
        suite: keys.suite,
        key: keys.encryption[0].clone(),
        skeyid_a: keys.integrity[0].clone(),
    })
}

fn said<'p>(pair: &'p Pair<'_>) -> Vec<&'p [u8]> {
    pair.history.iter().map(|datagram| &datagram.bytes[..]).collect()
}

/// Hands in what the peer itself says, gone mad: its next message is another link of the chain.
fn say(pair: &mut Pair<'_>, datagram: Datagram) {
    if pair.history.len() < 200 {
        pair.history.push(datagram.clone());
    }
    let _ = pair.deliver(datagram);
}

/// A true message, decrypted, changed, and encrypted again, in its own place or in another.
pub(crate) fn mad_message(pair: &mut Pair<'_>, input: &mut Input<'_>) {
    let Some(datagram) = pick(pair, input) else { return };
    let said = said(pair);
    let opened = keys(pair).find_map(|keys| {
        let clear = keys.open::<Toy>(&said, &datagram.bytes)?;
        Some((keys, clear))
    });
    let Some((keys, mut clear)) = opened else { return };
    let how = input.u8();
    if how & 1 != 0 {
        clear.id ^= u32::from(input.u8());
    }
    if how & 2 != 0 {
        clear.exchange = input.one_of(&EXCHANGES);
    }
    if how & 4 != 0 {
        clear.flags = input.u8() & !1;
    }
    if how & 8 != 0 {
        clear.first = input.u8();
    }
    let instead = (how & 16 == 0).then_some(&datagram.bytes[..]);
    input.mutate(&mut clear.payloads);
    if let Some(bytes) = keys.seal::<Toy>(&said, instead, &clear) {
        let datagram = Datagram { bytes, ..datagram };
        say(pair, datagram);
    }
}

/// A message of the input's own under good keys: the first of an exchange, or the next one.
pub(crate) fn made_up_message(pair: &mut Pair<'_>, input: &mut Input<'_>) {
    let to = input.below(2);
    let flags = input.u8();
    let index = usize::from(input.u8());
    let next = pick(pair, input).and_then(|known| known.bytes.get(20..24).map(<[u8]>::to_vec));
    let next = next.and_then(|id| id.try_into().ok()).map(u32::from_be_bytes);
    let clear = Clear {
        id: next.filter(|_| flags & 1 != 0).unwrap_or_else(|| u32::from(input.u8()) + 1),
        exchange: input.one_of(&EXCHANGES),
        flags: flags & 6,
        first: input.u8(),
        payloads: input.long_string().to_vec(),
    };
    let path = pair.path(to, if flags & 8 != 0 { 4500 } else { 500 });
    let sealed =
        keys(pair).nth(index & 3).and_then(|keys| keys.seal::<Toy>(&said(pair), None, &clear));
    if let Some(bytes) = sealed.filter(|_| path.remote.port != 0) {
        say(pair, Datagram { to, path, bytes });
    }
}
