//! An engine and its peer, and somebody between them who changes, repeats, forges and delays datagrams.
//!
//! The first byte chooses, besides half of what the two are like, one of three games:
//!
//! - *Outsider*: the tunnel is up, and somebody without keys who cannot hold back what the two send does what he can.
//!   At the end the tunnel must be up on both sides, nobody may have been moved, and new keys can be agreed on.
//! - *Insider*: everything may happen: datagrams get lost, jobs fail, installs fail, commands come at the wrong moment,
//!   and the peer itself sends nonsense under good keys.
//! - *Stranger*: the same as the insider's game, but from nothing: before and while the tunnel comes up.
//!
//! After each, both sides are closed, and every slot, buffer and SPI must be free again.

use std::time::Duration;

use ipsec_core::path::Endpoint;
use ipsec_ike::event::Direction;
use ipsec_ike::wire::Fragment;

use crate::ike_v1_engine;
use crate::input::Input;
use crate::insider::Plain;
use crate::pair::{Datagram, Pair, Pools, Shape, TUNNEL, trace};

/// Until what collides has been tried again, and what was replaced is gone.
const A_WHILE: Duration = Duration::from_secs(30);

/// Runs the target.
pub fn run(data: &[u8]) {
    play(data, Shape::of);
}

/// Plays the game that the input chooses, with a pair of the shape that its first two bytes say.
pub(crate) fn play(data: &[u8], shape: fn(u16) -> Shape) {
    let mut input = Input::new(data);
    let first = input.u8();
    let game = first % 3;
    let mut shape = shape(u16::from(first / 3) << 8 | u16::from(input.u8()));
    if game == 0 {
        shape.small_pools = false;
        shape.short_lives = false;
        // Whoever makes the two believe in a NAT ends a bundle.
        shape.bundle = false;
    }
    let mut pools = [Pools::new(shape), Pools::new(shape)];
    let mut pair = Pair::new(shape, &mut pools, input.seed());
    let free = pair.sides.each_ref().map(|s| s.engine.buffers_free());
    if game != 2 {
        pair.bring_up();
        for side in &pair.sides {
            assert_eq!(side.established(), (1, 1));
        }
    }
    if game == 0 {
        outsider(&mut pair, &mut input);
    } else {
        insider(&mut pair, &mut input);
    }
    close(&mut pair, free);
}

fn outsider(pair: &mut Pair<'_>, input: &mut Input<'_>) {
    let mut time = Duration::ZERO;
    while let Some(step) = input.step() {
        trace!("step {}", step % 10);
        match step % 10 {
            0 => forge(pair, input),
            1 | 2 => change(pair, input),
            3 => repeat(pair, input),
            4 => splice(pair, input),
            5 => {
                // The two go on with their work.
                let which = input.below(2);
                let renews = pair.may_renew(which);
                let (now, side) = (pair.now, &mut pair.sides[which]);
                let what = input.u8() % 3;
                trace!("{} does {what}", side.name);
                match what {
                    0 => {
                        if let Some((_, child)) = last_child(side) {
                            let _ = side.with(now, |e, env| e.rekey_child(env, child));
                        }
                    }
                    1 => {
                        let ike = side.engine.established().next();
                        if let Some((ike, _)) = ike.filter(|_| renews) {
                            let _ = side.with(now, |e, env| e.rekey_ike(env, ike));
                        }
                    }
                    _ => {
                        let _ = side.with(now, |e, env| e.initiate(env, TUNNEL));
                    }
                }
            }
            6 => pair.fetch(),
            7 => {
                pair.fetch();
                if let Some(datagram) = pair.wire.pop_front() {
                    let _ = pair.deliver(datagram);
                }
            }
            8 => pair.sides[input.below(2)].settle(pair.now),
            _ => {
                // Not so long that a datagram on the wire would be late.
                let step = Duration::from_millis(u64::from(input.u8()));
                time += step;
                if time < Duration::from_secs(2) {
                    pair.now = pair.now.after(step);
                    let now = pair.now;
                    pair.sides.iter_mut().for_each(|side| side.timeouts(now));
                }
            }
        }
    }
    pair.pass(A_WHILE);
    for side in &pair.sides {
        assert_eq!(side.established(), (1, 1), "the tunnel is up");
        assert_eq!(side.moves, 0, "nobody has moved");
    }
    keys_agree(pair);
    for side in 0..2 {
        let now = pair.now;
        let (_, child) = last_child(&pair.sides[side]).expect("it was counted");
        pair.sides[side].with(now, |e, env| e.rekey_child(env, child)).unwrap();
        pair.pass(A_WHILE);
        assert!(!pair.sides[side].installed.iter().any(|i| i.child == child), "new keys");
        keys_agree(pair);
    }
}

/// The two have the same keys for each direction, and one pair of SAs. In IKEv1, where two that begin at once make two, no
/// rule says which of them goes, and what goes is said once: each side has one to send on that the other receives on.
fn keys_agree(pair: &Pair<'_>) {
    let [a, b] = &pair.sides;
    if pair.is_v1() {
        for (x, y) in [(a, b), (b, a)] {
            let mut up = x.installed.iter().filter(|x| x.up);
            let receives = |sa| y.installed.iter().any(|y| y.inbound == sa);
            assert!(up.any(|x| receives(x.outbound.clone())), "nobody receives");
        }
        return;
    }
    let ([x], [y]) = (&a.installed[..], &b.installed[..]) else {
        panic!("{} and {} children", a.installed.len(), b.installed.len());
    };
    assert!(x.up && y.up);
    assert_eq!(x.inbound, y.outbound);
    assert_eq!(x.outbound, y.inbound);
}

fn last_child(
    side: &crate::pair::Side<'_>,
) -> Option<(ipsec_ike::event::ChildRef, ipsec_ike::event::ChildId)> {
    side.engine.established_children().next().map(|(child, config)| (config, child))
}

/// Any bytes, perhaps with a header that looks right.
fn forge(pair: &mut Pair<'_>, input: &mut Input<'_>) {
    let to = input.below(2);
    let port = if input.flag() { 4500 } else { 500 };
    let mut path = pair.path(to, port);
    if input.flag() {
        path.remote = Endpoint::new([203, 0, 113, input.u8()].into(), input.u16().max(1));
    }
    let mut bytes = input.long_string().to_vec();
    if input.flag()
        && let Some(keys) = pair.sides[to].keys.last()
        && let Some(header) = bytes.get_mut(..28)
    {
        header[..8].copy_from_slice(&keys.spis.0.to_be_bytes());
        header[8..16].copy_from_slice(&keys.spis.1.to_be_bytes());
        header[17] = if pair.is_v1() { 0x10 } else { 0x20 };
    }
    fix_length(&mut bytes);
    if path.remote.port != 0 {
        let _ = pair.deliver(Datagram { to, path, bytes });
    }
}

fn fix_length(bytes: &mut [u8]) {
    let len = u32::try_from(bytes.len()).unwrap();
    if let Some(field) = bytes.get_mut(24..28) {
        field.copy_from_slice(&len.to_be_bytes());
    }
}

/// A datagram of the past or one on its way, changed. The true one stays on its way.
fn change(pair: &mut Pair<'_>, input: &mut Input<'_>) {
    let Some(mut datagram) = pick(pair, input) else { return };
    let before = datagram.bytes.clone();
    input.mutate(&mut datagram.bytes);
    if input.flag() {
        fix_length(&mut datagram.bytes);
    }
    if datagram.bytes != before {
        let _ = pair.deliver(datagram);
    }
}

/// A datagram of the past once more, perhaps from elsewhere.
fn repeat(pair: &mut Pair<'_>, input: &mut Input<'_>) {
    let Some(mut datagram) = pick(pair, input) else { return };
    let fresh = pair.wire.iter().any(|w| w.to == datagram.to && w.bytes == datagram.bytes);
    if input.flag() && !fresh {
        datagram.path.remote = Endpoint::new([203, 0, 113, input.u8()].into(), input.u16().max(1));
    }
    let _ = pair.deliver(datagram);
}

pub(crate) fn pick(pair: &mut Pair<'_>, input: &mut Input<'_>) -> Option<Datagram> {
    pair.fetch();
    let index = usize::from(input.u8());
    let from_wire = pair.wire.len();
    let all = from_wire + pair.history.len();
    let index = index.checked_rem(all)?;
    let found = pair.wire.get(index).or_else(|| pair.history.get(index - from_wire));
    found.cloned()
}

/// The head of one datagram on the body of another.
///
/// A head is not authentic, in IKEv1, and a fresh body on a path of another's moves who sent it: then both came the same way.
fn splice(pair: &mut Pair<'_>, input: &mut Input<'_>) {
    let (Some(mut first), Some(second)) = (pick(pair, input), pick(pair, input)) else { return };
    let at = usize::from(input.u16()) % (first.bytes.len() + 1);
    let fresh = [&first, &second].iter().any(|d| pair.wire.iter().any(|w| w.bytes == d.bytes));
    if fresh && first.to == second.to && first.path != second.path {
        return;
    }
    let new = [&first.bytes[..at], second.bytes.get(at..).unwrap_or_default()].concat();
    let known = pair.history.iter().chain(&pair.wire).any(|d| d.bytes == new);
    first.bytes = new;
    fix_length(&mut first.bytes);
    if !known {
        let _ = pair.deliver(first);
    }
}

fn insider(pair: &mut Pair<'_>, input: &mut Input<'_>) {
    let mut steps = 0;
    while let Some(step) = input.step() {
        steps += 1;
        if steps > 200 {
            return;
        }
        let now = pair.now;
        trace!("step {}", step % 24);
        match step % 24 {
            0 => forge(pair, input),
            1 => change(pair, input),
            2 => repeat(pair, input),
            3 => splice(pair, input),
            4..=6 => {
                pair.fetch();
                if let Some(datagram) = pair.wire.pop_front() {
                    let _ = pair.deliver(datagram);
                }
            }
            7 => {
                pair.fetch();
                pair.wire.pop_front();
            }
            8 => {
                pair.fetch();
                pair.wire.rotate_left(usize::from(pair.wire.len() > 1));
            }
            9 | 10 => pair.sides[input.below(2)].settle(now),
            11 => {
                let side = &mut pair.sides[input.below(2)];
                side.collect_jobs();
                let (index, fail) = (usize::from(input.u8()), input.flag());
                if let Some(index) = index.checked_rem(side.jobs.len()) {
                    // Kept in the list now and then: answered twice.
                    let id = if input.flag() { side.jobs.remove(index) } else { side.jobs[index] };
                    side.do_job(now, id, fail);
                }
            }
            12 => {
                pair.sides[input.below(2)].event(now);
            }
            13 => pair.sides[input.below(2)].refuse_installs = input.u8() % 3,
            14 => {
                let time = Duration::from_millis(u64::from(input.u16()) * 8);
                pair.now = now.after(time);
                let now = pair.now;
                pair.sides.iter_mut().for_each(|side| side.timeouts(now));
            }
            15 => pair.talk(),
            16 => pair.pass(Duration::from_secs(input.u8().into())),
            17..=19 if pair.is_v1() => ike_v1_engine::mad_message(pair, input),
            17..=19 => mad_message(pair, input),
            20 if pair.is_v1() => ike_v1_engine::made_up_message(pair, input),
            20 => made_up_message(pair, input),
            _ => command(pair, input),
        }
    }
}

/// A true message, decrypted, changed, and encrypted again, perhaps with another message ID.
fn mad_message(pair: &mut Pair<'_>, input: &mut Input<'_>) {
    let Some(datagram) = pick(pair, input) else { return };
    let keys = pair.sides.iter().flat_map(|side| &side.keys);
    let opened = keys.rev().find_map(|keys| Some((keys.clone(), keys.open(&datagram.bytes)?)));
    let Some((keys, mut plain)) = opened else { return };
    let how = input.u8();
    if how & 1 != 0 {
        plain.message_id = plain.message_id.wrapping_add(u32::from(input.u8() % 8));
    }
    if how & 2 != 0 {
        plain.exchange = input.u8() % 8 + 34;
    }
    if how & 4 != 0 {
        plain.response = !plain.response;
    }
    if how & 8 != 0 {
        plain.first = input.u8();
    }
    if how & 16 != 0 {
        plain.from_initiator = !plain.from_initiator;
    }
    if how & 32 != 0 {
        plain.fragment = fragment(input);
    }
    input.mutate(&mut plain.inner);
    if let Some(bytes) = keys.seal(&plain, 1 << 40 | u64::from(how)) {
        let _ = pair.deliver(Datagram { bytes, ..datagram });
    }
}

/// A message of the input's own under good keys.
fn made_up_message(pair: &mut Pair<'_>, input: &mut Input<'_>) {
    let to = input.below(2);
    let index = usize::from(input.u8());
    let keys = &pair.sides[to].keys;
    let Some(keys) = index.checked_rem(keys.len()).map(|i| keys[keys.len() - 1 - i].clone()) else {
        return;
    };
    let flags = input.u8();
    let plain = Plain {
        from_initiator: flags & 1 != 0,
        response: flags & 2 != 0,
        exchange: input.u8() % 8 + 34,
        message_id: u32::from(input.u8() % 8),
        first: input.u8(),
        fragment: if flags & 8 != 0 { fragment(input) } else { None },
        inner: input.long_string().to_vec(),
    };
    let path = pair.path(to, if flags & 4 != 0 { 4500 } else { 500 });
    if let Some(bytes) = keys.seal(&plain, 1 << 41 | u64::from(flags))
        && path.remote.port != 0
    {
        let _ = pair.deliver(Datagram { to, path, bytes });
    }
}

/// A part of a message of few parts, or none at all.
fn fragment(input: &mut Input<'_>) -> Option<Fragment> {
    let byte = input.u8();
    let number = u16::from(byte & 7);
    (number != 0).then_some(Fragment { number, total: u16::from(byte >> 3) })
}

/// A command, perhaps with a stale handle.
fn command(pair: &mut Pair<'_>, input: &mut Input<'_>) {
    let now = pair.now;
    let number = input.below(2);
    let kinds = if pair.mobike { 16 } else { 14 };
    let (what, index) = (input.u8() % kinds, usize::from(input.u8()));
    let places = [false, true].map(|elsewhere| pair.place(number, elsewhere));
    let side = &mut pair.sides[number];
    let child = index.checked_rem(side.children.len()).map(|i| side.children[i]);
    let ike = index.checked_rem(side.ikes.len()).map(|i| side.ikes[i]);
    match (what, child, ike) {
        (0 | 1, ..) => {
            let _ = side.with(now, |e, env| e.initiate(env, TUNNEL));
        }
        (2 | 3, Some(child), _) => {
            let _ = side.with(now, |e, env| e.rekey_child(env, child));
        }
        (4, Some(child), _) => {
            let _ = side.with(now, |e, env| e.close_child(env, child));
        }
        (5 | 6, _, Some(ike)) => {
            let _ = side.with(now, |e, env| e.rekey_ike(env, ike));
        }
        (7, _, Some(ike)) => {
            let _ = side.with(now, |e, env| e.close_ike(env, ike));
        }
        (8 | 9, Some(child), _) => side.with(now, |e, env| e.expired(env, child, what == 9)),
        (10, Some(child), _) => side.engine.heard(now, child),
        (11, Some(child), _) => {
            let to = Endpoint::new([203, 0, 113, input.u8()].into(), input.u16());
            side.engine.peer_moved(child, to);
        }
        (12, Some(child), _) => {
            let result = if input.flag() { Ok(()) } else { Err(()) };
            let direction = if input.flag() { Direction::Inbound } else { Direction::Outbound };
            side.with(now, |e, env| e.installed(env, child, direction, result));
        }
        (13, ..) => side.with(now, |e, env| e.close_all(env)),
        (14, ..) => {
            let [from, to] = if input.flag() { places } else { [places[1], places[0]] };
            side.with(now, |e, env| e.move_address(env, from, to));
        }
        (15, _, Some(ike)) => {
            let path = pair.path_between(number, input.flag(), input.flag());
            let _ = pair.sides[number].with(now, |e, env| e.move_ike(env, ike, path));
        }
        _ => {}
    }
}

/// Ends everything, and looks whether all came back.
fn close(pair: &mut Pair<'_>, free: [usize; 2]) {
    for side in &mut pair.sides {
        side.refuse_installs = 0;
    }
    // What was lost, refused or left to wait runs out, or comes to its end.
    for _ in 0..3 {
        pair.talk();
        let now = pair.now;
        for side in &mut pair.sides {
            side.with(now, |e, env| e.close_all(env));
        }
        pair.pass(Duration::from_secs(400));
    }
    for (side, free) in pair.sides.iter().zip(free) {
        let engine = &side.engine;
        assert!(engine.is_idle(), "idle");
        assert_eq!(engine.sas_in_use(), 0, "IKE SAs");
        assert_eq!(engine.children_in_use(), 0, "children");
        assert_eq!(engine.handshakes_in_use(), 0, "handshakes");
        assert_eq!(engine.exchanges_in_use(), 0, "exchanges");
        assert_eq!(engine.buffers_free(), free, "buffers");
        assert!(side.spis.reserved.is_empty() && side.spis.taken.is_empty(), "SPIs");
        assert!(side.installed.is_empty(), "SAs that the caller installed");
        assert_eq!(engine.next_timeout(), None);
    }
}
