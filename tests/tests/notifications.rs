//! What a peer's notifications change: those that our own side never sends are put into its messages.

use core::time::Duration;

use ipsec::{ChildRef, Endpoint, Failure, GatewayEvent};
use ipsec_core::selector::Flow;
use ipsec_ike::wire::NotifyType;
use ipsec_testkit::engines::{self, Engines, Told};
use ipsec_testkit::insider::Insider;
use ipsec_testkit::link::{Datagram, Verdict};
use ipsec_testkit::pair::{Memory, Pair, Sent};
use ipsec_testkit::setup::{ADDRESS_A, ADDRESS_B, HOST_A, Setup, Side, TUNNEL, v4};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const IKE_AUTH: u8 = 35;
const CREATE_CHILD_SA: u8 = 36;

/// Two gateways; A tells its keys.
fn setup(seed: u64) -> Setup {
    let mut setup = Setup::new(seed);
    setup.a.config.ike.key_log = true;
    setup
}

/// A has memory for the packets that ask for children.
fn remember_packets(pair: &mut Pair<'_>) {
    pair.a.gateway.remember_packets(vec![Flow::UNSPECIFIED; 64].leak());
}

/// The IKE message of a datagram that B answers an exchange of this type with.
fn answer(d: &Datagram, exchange: u8) -> Option<&[u8]> {
    let message = match d.bytes.first_chunk() {
        Some([0, 0, 0, 0]) => d.bytes.get(4..)?,
        _ => &d.bytes,
    };
    let is_it = d.source.address == ADDRESS_B && message.get(18..20) == Some(&[exchange, 0x20]);
    is_it.then_some(message)
}

fn notify(kind: NotifyType) -> Vec<u8> {
    [&[0, 0, 0, 8, 0, 0][..], &kind.0.to_be_bytes()].concat()
}

/// In place of B's next answer to a CREATE_CHILD_SA of A's, A gets a refusal.
fn refuse_child(pair: &mut Pair<'_>, kind: NotifyType) {
    let mut insider = Insider::of(&pair.a, false);
    let mut done = false;
    pair.link.set_hook(move |_, d| {
        if let (false, Some(message)) = (done, answer(d, CREATE_CHILD_SA)) {
            let id = u32::from_be_bytes(*message[20..].first_chunk().unwrap());
            let marker = d.bytes.len() - message.len();
            let refusal = insider.message(CREATE_CHILD_SA, 0x20, id, 41, &notify(kind));
            d.bytes.splice(marker.., refusal);
            done = true;
        }
        Verdict::Pass
    });
}

/// RFC 7296 section 2.9: the peer makes children for single pairs of addresses. It is asked again, for those of the packet.
#[test]
fn a_single_pair_of_addresses_after_ike_auth() {
    let mut setup = setup(1);
    setup.a.peers[0].childless = true;
    setup.b.peers[0].childless = true;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    remember_packets(&mut pair);
    assert_eq!(pair.send(Side::A, 1), Sent::Waiting);
    assert!(pair.wait(SECOND, |pair| pair.a.count(is_ike_up) == 1));
    refuse_child(&mut pair, NotifyType::SINGLE_PAIR_REQUIRED);
    assert!(pair.wait(5 * SECOND, |pair| pair.a.is_up()), "{}", pair.log());
    for_one_pair(&mut pair);
}

/// The same of the first child.
#[test]
fn a_single_pair_of_addresses_in_ike_auth() {
    let setup = setup(2);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    remember_packets(&mut pair);
    assert_eq!(pair.send(Side::A, 1), Sent::Waiting);
    refuse_first_child(&mut pair);
    assert!(pair.wait(5 * SECOND, |pair| pair.a.is_up()), "{}", pair.log());
    for_one_pair(&mut pair);
}

/// In place of the child, B's answer to IKE_AUTH has a refusal.
fn refuse_first_child(pair: &mut Pair<'_>) {
    let told = |e: &GatewayEvent| matches!(e, GatewayEvent::IkeKeys(_));
    assert!(pair.wait(SECOND, |pair| pair.a.count(told) > 0), "{}", pair.log());
    let mut insider = Insider::of(&pair.a, false);
    pair.link.set_hook(move |_, d| {
        let Some(message) = answer(d, IKE_AUTH) else { return Verdict::Pass };
        let (mut payloads, mut at, first) = (insider.open(message), 0, message[28]);
        let mut kind = first;
        // IDr, AUTH, and what belongs to the child.
        while kind != 33 {
            let len = usize::from(u16::from_be_bytes([payloads[at + 2], payloads[at + 3]]));
            if payloads[at] == 33 {
                payloads[at] = 41;
                payloads.truncate(at + len);
                break;
            }
            (kind, at) = (payloads[at], at + len);
        }
        payloads.extend(notify(NotifyType::SINGLE_PAIR_REQUIRED));
        let marker = d.bytes.len() - message.len();
        let message = insider.message(IKE_AUTH, 0x20, 1, first, &payloads);
        d.bytes.splice(marker.., message);
        Verdict::Pass
    });
}

fn is_ike_up(event: &GatewayEvent) -> bool {
    matches!(event, GatewayEvent::IkeUp { .. })
}

/// What A has is for the two hosts, and stays so when it is rekeyed.
fn for_one_pair(pair: &mut Pair<'_>) {
    assert!(pair.a.failures().is_empty(), "{}", pair.log());
    pair.link.clear_hook();
    for _ in 0..2 {
        assert_eq!(pair.send(Side::A, 2), Sent::Sealed);
        let other = (HOST_A, v4(192, 168, 2, 99));
        assert_ne!(pair.send_between(Side::A, other, 3), Sent::Sealed, "{}", pair.log());
        pair.run_for(SECOND);
        assert_eq!(pair.b.numbers().last(), Some(&2), "{}", pair.log());
        pair.rekey(Side::A).unwrap();
        pair.run_for(10 * SECOND);
    }
    assert_eq!(pair.a.child_rekeys(), 2, "{}", pair.log());
    pair.close_and_check(Side::A);
}

/// Without a packet, nobody knows for which pair: that is told, and asked no more.
#[test]
fn a_single_pair_of_addresses_that_is_not_known() {
    let setup = setup(3).tunnels(2);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    refuse_child(&mut pair, NotifyType::SINGLE_PAIR_REQUIRED);
    let second = ChildRef { child: 1, ..TUNNEL };
    pair.with(Side::A, |gateway, now, rng| gateway.initiate(now, rng, second)).unwrap();
    pair.run_for(MINUTE);
    assert_eq!(pair.a.failures(), [Failure::SinglePairRequired], "{}", pair.log());
    pair.ping();
    pair.link.clear_hook();
    pair.close_and_check(Side::A);
}

/// RFC 7296 section 4: a peer that makes one child for each IKE SA gets another IKE SA for the next one. Nothing is asked
/// in a loop.
#[test]
fn no_additional_sas() {
    let setup = setup(4);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    // It is refused to replace the child: the child stays.
    refuse_child(&mut pair, NotifyType::NO_ADDITIONAL_SAS);
    pair.rekey(Side::A).unwrap();
    pair.run_for(10 * SECOND);
    let refused = Failure::Refused(NotifyType::NO_ADDITIONAL_SAS);
    assert_eq!(pair.a.failures(), std::slice::from_ref(&refused), "{}", pair.log());
    pair.ping();
    // It is gone, and there is to be another one.
    pair.close(Side::A).unwrap();
    pair.run_for(SECOND);
    assert!(pair.a.ike_downs().is_empty());
    refuse_child(&mut pair, NotifyType::NO_ADDITIONAL_SAS);
    assert_eq!(pair.send(Side::A, 1), Sent::Waiting);
    pair.run_for(10 * SECOND);
    assert_eq!(pair.a.failures(), [refused.clone(), refused], "{}", pair.log());
    assert_eq!(pair.a.ike_downs().len(), 1, "{}", pair.log());
    pair.link.clear_hook();
    pair.run_for(MINUTE);
    let _ = pair.send(Side::A, 2);
    assert!(pair.wait(5 * SECOND, |pair| pair.a.is_up()), "{}", pair.log());
    assert_eq!(pair.a.count(is_ike_up), 2);
    pair.ping();
    pair.close_and_check(Side::A);
}

/// RFC 7296 section 3.10.1: the peer says which SA our packets do not belong into.
#[test]
fn invalid_selectors() {
    let setup = setup(5);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let spi = pair.a.events.iter().find_map(|(_, event)| match event {
        GatewayEvent::ChildUp { agreed, .. } => Some(agreed.outbound_spi.get()),
        _ => None,
    });
    let mut insider = Insider::of(&pair.a, false);
    let path = pair.link.tap().last().unwrap().datagram.clone();
    for (id, (spi, told)) in (0..).zip([(spi.unwrap(), 1), (7, 1)]) {
        let mut body = vec![0, 0, 0, 16, 3, 4];
        body.extend(NotifyType::INVALID_SELECTORS.0.to_be_bytes());
        body.extend(spi.to_be_bytes());
        body.extend([0x45, 0, 0, 84]);
        let message = insider.message(37, 0, id, 41, &body);
        let [from, to] = [ADDRESS_B, ADDRESS_A].map(|a| Endpoint::new(a, 500));
        pair.deliver(Side::A, &Datagram { bytes: message, ..Datagram::udp(from, to, vec![]) });
        pair.run_for(SECOND);
        assert_eq!(pair.a.failures(), vec![Failure::InvalidSelectors; told], "{path:?}");
    }
    pair.ping();
}

/// RFC 7296 section 2.2: before the numbers of messages come to an end, there is another IKE SA; and where that does not
/// come about, the old one ends.
#[test]
fn message_ids_come_to_an_end() {
    const MANY: u32 = u32::MAX - 1023;
    for (side, last) in [(Side::A, false), (Side::B, false), (Side::A, true), (Side::B, true)] {
        let setup = Setup::new(6);
        let mut memory = engines::Memory::new(&setup);
        let mut engines = Engines::new(&setup, &mut memory);
        engines.bring_up();
        let next = if last { u32::MAX } else { MANY };
        for at in Side::BOTH {
            let ids = if at == side { (next, 0) } else { (0, next) };
            let ike = engines.engine(at).last.unwrap();
            engines.with(at, |ike_engine, _| ike_engine.skip_message_ids(ike, ids));
        }
        engines.rekey(side);
        engines.run_for(MINUTE);
        let story = engines.engine(side).story();
        let ended = story.iter().any(|told| matches!(told, Told::IkeDown(_)));
        assert_eq!((story.contains(&Told::IkeRekeyed), ended), (!last, last), "{}", engines.log());
        if last {
            engines.initiate(side, TUNNEL);
            engines.run_for(SECOND);
        }
        assert!(engines.carries(), "{side:?} {}", engines.log());
        engines.close_and_check(side);
    }
}
