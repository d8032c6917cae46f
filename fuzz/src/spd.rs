//! A policy database with its index and its cache, of any sizes, beside a plain list.

use ipsec_core::selector::Selectors;
use ipsec_core::spd::{
    Action, CacheEntry, ClearError, Direction, IndexEntry, Policy, Spd, SpdError, SpdMemory,
};
use ipsec_core::wire::{Fragment, IpPacket};

use crate::input::Input;
use crate::ip_parsers::{flow, traffic_selector};

/// How many policies fit: more than the index has kinds of prefix lengths.
const CAPACITY: usize = 40;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut slots = [const { Policy::EMPTY }; CAPACITY];
    let mut index = vec![IndexEntry::EMPTY; usize::from(input.u8())];
    let mut buckets = vec![0; input.below(64)];
    let mut cache = vec![CacheEntry::EMPTY; input.below(32)];
    let mut spd = Spd::with_index(SpdMemory {
        policies: &mut slots,
        index: &mut index,
        buckets: &mut buckets,
        cache: &mut cache,
    });
    let mut model: Vec<Policy> = Vec::new();
    while let Some(step) = input.step() {
        match step % 8 {
            0 => {
                let policy = policy(&mut input);
                let full = model.len() == CAPACITY;
                assert_eq!(
                    spd.push(policy.clone()),
                    if full { Err(SpdError::Full) } else { Ok(()) }
                );
                if !full {
                    model.push(policy);
                }
            }
            1 => {
                let (index, policy) = (input.below(CAPACITY + 3), policy(&mut input));
                let expected = if model.len() == CAPACITY {
                    Err(SpdError::Full)
                } else if index > model.len() {
                    Err(SpdError::NoSuchPolicy)
                } else {
                    Ok(())
                };
                assert_eq!(spd.insert(index, policy.clone()), expected);
                if expected.is_ok() {
                    model.insert(index, policy);
                }
            }
            2 => {
                let index = input.below(CAPACITY + 3);
                let expected = (index < model.len()).then(|| model.remove(index));
                assert_eq!(spd.remove(index), expected.ok_or(SpdError::NoSuchPolicy));
            }
            3 if input.u8().is_multiple_of(8) => {
                spd.clear();
                model.clear();
            }
            _ => look_up(&mut spd, &model, &mut input),
        }
        assert_eq!(spd.policies(), model);
    }
}

fn policy(input: &mut Input<'_>) -> Policy {
    let mut selectors = Selectors::EMPTY;
    for list in [&mut selectors.local, &mut selectors.remote] {
        for _ in 0..input.below(4) {
            let _ = list.push(traffic_selector(input));
        }
    }
    let action = match input.u8() % 3 {
        0 => Action::Discard,
        1 => Action::Bypass,
        _ => Action::Protect(input.u8().into()),
    };
    Policy::new(selectors, action)
}

fn look_up(spd: &mut Spd<'_>, model: &[Policy], input: &mut Input<'_>) {
    let flow = flow(input);
    let out = |p: &&Policy| {
        let any = |list: &[ipsec_core::selector::TrafficSelector], address, port| {
            list.iter().any(|ts| ts.contains(address, flow.protocol, port))
        };
        any(&p.selectors.local, flow.source, flow.source_port)
            && any(&p.selectors.remote, flow.destination, flow.destination_port)
    };
    let found = model.iter().find(out);
    let index = found.and_then(|p| model.iter().position(|other| std::ptr::eq(other, p)));
    let expected = index.map(|index| (index, model[index].action));
    assert_eq!(spd.lookup(Direction::Outbound, &flow), expected);
    for _ in 0..2 {
        assert_eq!(spd.lookup_cached(Direction::Outbound, &flow), expected);
    }
    // The answer to a packet is judged by the same policy.
    let answer = flow.reversed();
    assert_eq!(spd.lookup(Direction::Inbound, &answer), expected);
    assert_eq!(spd.lookup_cached(Direction::Inbound, &answer), expected);
    let packet = IpPacket {
        flow: answer,
        len: 20,
        upper: 20,
        traffic_class: 0,
        hop_limit: 64,
        flow_label: 0,
        dont_fragment: true,
        fragment: Fragment::Whole,
        identification: 0,
    };
    let clear = spd.inbound_clear_packet(&packet, &answer);
    assert_eq!(
        clear,
        match found.map(|p| p.action) {
            Some(Action::Bypass) => Ok(()),
            Some(Action::Protect(_)) => Err(ClearError::NotProtected),
            Some(Action::Discard) => Err(ClearError::Discard),
            None => Err(ClearError::NoPolicy),
        }
    );
}
