//! What an attacker sends: changed, cut, repeated, reflected and forged messages. Each is refused, and every SA is as it
//! was: the rest of the run is the same, byte for byte, as without the attack.

use core::time::Duration;
use std::cell::RefCell;
use std::rc::Rc;

use ipsec::{
    ChildId, ChildRef, DatagramError, Endpoint, IkeId, InboundError, Instant, Path, Retransmission,
    Statistics,
};
use ipsec_ike::wire::NotifyType;
use ipsec_testkit::insider::Insider;
use ipsec_testkit::link::{Captured, Datagram, Transport, Verdict};
use ipsec_testkit::pair::{Memory, Node, Pair};
use ipsec_testkit::rng::SeededRng;
use ipsec_testkit::setup::{ADDRESS_A, ADDRESS_B, Setup, Side, v4};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// IKE_SA_INIT, as the exchange type.
const SA_INIT: u8 = 34;
const AUTH: u8 = 35;
const CREATE_CHILD: u8 = 36;
const INFORMATIONAL: u8 = 37;

/// Where the IKE message begins in a datagram; `None` if it is not of IKE.
fn ike_offset(datagram: &Datagram) -> Option<usize> {
    let plain = datagram.source.port == 500 || datagram.destination.port == 500;
    match (datagram.transport, plain) {
        (Transport::Ip(_), _) => None,
        (Transport::Udp, true) => Some(0),
        (Transport::Udp, false) => (datagram.bytes.first_chunk() == Some(&[0; 4])).then_some(4),
    }
}

fn exchange_of(datagram: &Datagram) -> Option<u8> {
    datagram.bytes.get(ike_offset(datagram)? + 18).copied()
}

/// The child that a tunnel sends on, and what it has sent and received.
type Use = (Option<ChildId>, (u64, u64), (u64, u64));

/// Everything that can be seen of a node.
#[derive(PartialEq, Debug)]
struct Digest {
    statistics: Statistics,
    timeout: Option<Instant>,
    rng: SeededRng,
    ikes: Vec<(IkeId, u16)>,
    children: Vec<(ChildId, ChildRef)>,
    tunnels: Vec<Use>,
    paths: Vec<Path>,
    events: usize,
    received: usize,
}

fn digest(node: &mut Node<'_>, now: Instant) -> Digest {
    node.settle(now);
    let gateway = &node.gateway;
    Digest {
        statistics: gateway.statistics(),
        timeout: gateway.next_timeout(),
        rng: node.rng.clone(),
        ikes: gateway.ike().established().collect(),
        children: gateway.ike().established_children().collect(),
        tunnels: gateway.tunnels().map(|t| (t.child, t.sent, t.received)).collect(),
        paths: gateway.sad().outbound_sas().map(|sa| sa.protection.path).collect(),
        events: node.events.len(),
        received: node.received.len(),
    }
}

/// Hands something to a node that it must refuse without any change, and without an answer.
fn must_refuse(node: &mut Node<'_>, now: Instant, datagram: &Datagram, what: &str) {
    let before = digest(node, now);
    let taken = node.take(now, datagram);
    assert!(taken.is_err(), "{:?} took {what}: {datagram:?}", node.side);
    assert_eq!(digest(node, now), before, "{:?}: {what} changed something", node.side);
    let mut buf = [0; 4096];
    let answer = node.gateway.poll_transmit(&mut buf);
    assert_eq!(answer, Ok(None), "{:?}: {what} was answered", node.side);
}

/// A whole life on a fair link, with every kind of exchange from either side, and traffic. Before each datagram arrives,
/// `attack` may do something to the node it is for. Gives everything that crossed the network, and all events.
fn life(
    setup: &Setup,
    attack: impl FnMut(&mut Node<'_>, Instant, &Datagram) + 'static,
) -> (Vec<Captured>, String) {
    let mut memory = Memory::new(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.on_arrival = Some(Box::new(attack));
    pair.bring_up();
    pair.ping();
    for side in Side::BOTH {
        pair.rekey(side).unwrap();
        pair.run_for(SECOND);
        pair.ping();
        pair.rekey_ike(side).unwrap();
        pair.run_for(SECOND);
        pair.ping();
        // Liveness.
        pair.run_for(40 * SECOND);
        pair.ping();
        pair.close(side).unwrap();
        pair.run_for(SECOND);
        pair.initiate(side).unwrap();
        pair.run_for(SECOND);
        pair.ping();
    }
    assert_eq!((pair.a.child_rekeys(), pair.b.child_rekeys()), (2, 2));
    assert_eq!((pair.a.ike_rekeys(), pair.b.ike_rekeys()), (2, 2));
    assert!(pair.a.failures().is_empty() && pair.b.failures().is_empty(), "{}", pair.log());
    pair.close_and_check(Side::B);
    (pair.link.take_tap(), pair.log())
}

/// Checks that a life is the same with and without an attack. Gives everything that crossed the network.
fn unmoved_by(
    setup: &Setup,
    attack: impl FnMut(&mut Node<'_>, Instant, &Datagram) + 'static,
) -> Vec<Captured> {
    let quiet = life(setup, |_, _, _| {});
    let attacked = life(setup, attack);
    assert_eq!(quiet.1, attacked.1);
    assert!(quiet.0 == attacked.0, "the attack changed what was sent");
    attacked.0
}

fn setups() -> [Setup; 2] {
    [Setup::new(1), Setup::new(2).behind_nat()]
}

/// Whether it may be changed without being noticed at once: IKE_SA_INIT is not protected.
fn is_protected(datagram: &Datagram) -> bool {
    exchange_of(datagram) != Some(SA_INIT) && datagram.bytes != [0xff]
}

/// Counts what an attack delivers.
fn counter() -> (Rc<RefCell<usize>>, impl Fn() + 'static) {
    let count = Rc::new(RefCell::new(0));
    let more = Rc::clone(&count);
    (count, move || *more.borrow_mut() += 1)
}

/// How many datagrams were protected, and how many bytes they had.
fn protected(sent: &[Captured]) -> (usize, usize) {
    let all = sent.iter().filter(|c| is_protected(&c.datagram));
    all.fold((0, 0), |(count, bytes), c| (count + 1, bytes + c.datagram.bytes.len()))
}

#[test]
fn every_flipped_bit_is_refused() {
    for setup in setups() {
        let (refused, another) = counter();
        let sent = unmoved_by(&setup, move |node, now, datagram| {
            if !is_protected(datagram) {
                return;
            }
            let mut changed = datagram.clone();
            for bit in 0..datagram.bytes.len() * 8 {
                changed.bytes[bit / 8] ^= 1 << (bit % 8);
                if exchange_of(&changed) != Some(SA_INIT) {
                    must_refuse(node, now, &changed, "a flipped bit");
                    another();
                }
                changed.bytes[bit / 8] ^= 1 << (bit % 8);
            }
        });
        // At most one bit of each makes an IKE_SA_INIT of it.
        let (count, bytes) = protected(&sent);
        let refused = *refused.borrow();
        assert!(
            count > 50 && (bytes * 8 - count..=bytes * 8).contains(&refused),
            "{count} {refused}"
        );
    }
}

#[test]
fn every_cut_and_every_longer_message_is_refused() {
    for setup in setups() {
        let (refused, another) = counter();
        let sent = unmoved_by(&setup, move |node, now, datagram| {
            if !is_protected(datagram) {
                return;
            }
            for len in 0..datagram.bytes.len() {
                let bytes = datagram.bytes[..len].to_vec();
                must_refuse(node, now, &Datagram { bytes, ..*datagram }, "a cut message");
                another();
            }
            for more in [1, 4, 16, 300] {
                let mut bytes = datagram.bytes.clone();
                bytes.resize(bytes.len() + more, 0);
                must_refuse(node, now, &Datagram { bytes, ..*datagram }, "a longer message");
                another();
            }
        });
        let (count, bytes) = protected(&sent);
        assert!(count > 50, "{count}");
        assert_eq!(*refused.borrow(), bytes + 4 * count);
    }
}

/// The length in the header is changed along with the datagram's, so that only the protection can tell.
#[test]
fn cut_messages_with_fitting_lengths_are_refused() {
    for setup in setups() {
        let (refused, another) = counter();
        let sent = unmoved_by(&setup, move |node, now, datagram| {
            let Some(at) = ike_offset(datagram).filter(|_| is_protected(datagram)) else { return };
            for len in at + 32..datagram.bytes.len() + 40 {
                let mut bytes = datagram.bytes.clone();
                bytes.resize(len, 0);
                let message = &mut bytes[at..];
                if len == datagram.bytes.len() {
                    continue;
                }
                let total = message.len() as u32;
                message[24..28].copy_from_slice(&total.to_be_bytes());
                message[30..32].copy_from_slice(&(total as u16 - 28).to_be_bytes());
                must_refuse(node, now, &Datagram { bytes, ..*datagram }, "a cut message");
                another();
            }
        });
        let messages = sent.iter().filter(|c| is_protected(&c.datagram));
        let lens = messages.filter_map(|c| Some(c.datagram.bytes.len() - ike_offset(&c.datagram)?));
        // From 32 bytes to 39 more than its own, which is the only length that is left out.
        let expected: Vec<usize> = lens.map(|len| len - 32 + 39).collect();
        assert!(expected.len() > 20, "{}", expected.len());
        assert_eq!(*refused.borrow(), expected.iter().sum::<usize>());
    }
}

/// Everything that a node has received is sent to it again before everything that it receives later. A request that is
/// not older than the last one gets its response again, the same bytes (RFC 7296 section 2.1); all else is refused.
#[test]
fn everything_repeated_at_any_time_changes_nothing() {
    for setup in setups() {
        let seen = Rc::new(RefCell::new(Vec::<(Side, Datagram)>::new()));
        let repeated = Rc::new(RefCell::new((Vec::<Vec<u8>>::new(), 0)));
        let outcome = Rc::clone(&repeated);
        let sent = unmoved_by(&setup, move |node, now, datagram| {
            let victim = node.side;
            for (_, old) in seen.borrow().iter().filter(|(side, _)| *side == victim) {
                let before = digest(node, now);
                let taken = node.take(now, old);
                assert_eq!(digest(node, now), before, "{victim:?}: a repetition changed something");
                let mut buf = [0; 4096];
                if taken.is_ok() {
                    let transmit = node.gateway.poll_transmit(&mut buf).unwrap().unwrap();
                    outcome.borrow_mut().0.push(buf[..transmit.len].to_vec());
                } else {
                    outcome.borrow_mut().1 += 1;
                }
                assert_eq!(node.gateway.poll_transmit(&mut buf), Ok(None));
            }
            if is_protected(datagram) {
                seen.borrow_mut().push((victim, datagram.clone()));
            }
        });
        let (answers, refused) = &*repeated.borrow();
        for answer in answers {
            assert!(sent.iter().any(|c| c.datagram.bytes == *answer), "another answer: {answer:?}");
        }
        assert!(answers.len() > 10 && *refused > 200, "{} {refused}", answers.len());
    }
}

/// A message goes back to who sent it.
#[test]
fn reflected_messages_are_refused() {
    for setup in setups() {
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        let mut seen = 0;
        let mut reflect = |pair: &mut Pair<'_>| {
            let now = pair.now();
            let tap: Vec<_> = pair.link.tap()[seen..].iter().map(|c| c.datagram.clone()).collect();
            seen += tap.len();
            for sent in tap.into_iter().filter(is_protected) {
                let side = if sent.source.address == ADDRESS_B { Side::B } else { Side::A };
                let node = pair.node(side);
                let back = Endpoint::new(node.address, sent.source.port);
                let back = if side == Side::A && sent.source.port >= 40_000 {
                    back.with_port(4500)
                } else {
                    back
                };
                let reflected = Datagram { source: sent.destination, destination: back, ..sent };
                must_refuse(node, now, &reflected, "a reflected message");
            }
        };
        pair.initiate(Side::A).unwrap();
        for side in Side::BOTH {
            for _ in 0..60 {
                pair.run_for(Duration::from_millis(5));
                reflect(&mut pair);
            }
            pair.ping();
            reflect(&mut pair);
            pair.rekey(side).unwrap();
            for _ in 0..60 {
                pair.run_for(Duration::from_millis(5));
                reflect(&mut pair);
            }
            pair.rekey_ike(side).unwrap();
        }
        pair.run_for(MINUTE);
        pair.ping();
        assert!(pair.a.ike_downs().is_empty() && pair.b.ike_downs().is_empty());
    }
}

/// A message in clear that says something went wrong: of each exchange, for either side, in either direction.
fn notify(
    spis: [u8; 16],
    exchange: u8,
    flags: u8,
    id: u32,
    kind: NotifyType,
    data: &[u8],
) -> Vec<u8> {
    let mut message = spis.to_vec();
    message.extend([41, 0x20, exchange, flags]);
    message.extend(id.to_be_bytes());
    message.extend((36 + data.len() as u32).to_be_bytes());
    message.extend([0, 0]);
    message.extend((8 + data.len() as u16).to_be_bytes());
    message.extend([0, 0]);
    message.extend(kind.0.to_be_bytes());
    message.extend(data);
    message
}

const ERRORS: [NotifyType; 9] = [
    NotifyType::INVALID_SYNTAX,
    NotifyType::INVALID_IKE_SPI,
    NotifyType::INVALID_MAJOR_VERSION,
    NotifyType::INVALID_MESSAGE_ID,
    NotifyType::INVALID_SPI,
    NotifyType::NO_PROPOSAL_CHOSEN,
    NotifyType::AUTHENTICATION_FAILED,
    NotifyType::TS_UNACCEPTABLE,
    NotifyType::CHILD_SA_NOT_FOUND,
];

/// RFC 7296 section 2.21: an SA is never ended because of something that nobody vouches for.
#[test]
fn errors_in_clear_are_ignored_by_what_is_protected() {
    for setup in setups() {
        unmoved_by(&setup, |node, now, datagram| {
            let Some(at) = ike_offset(datagram).filter(|_| is_protected(datagram)) else { return };
            let message = &datagram.bytes[at..];
            let spis: [u8; 16] = *message.first_chunk().unwrap();
            let id = u32::from_be_bytes(*message[20..].first_chunk().unwrap());
            for kind in ERRORS {
                for exchange in [AUTH, CREATE_CHILD, INFORMATIONAL] {
                    for flags in [0, 0x08, 0x20, 0x28] {
                        for id in [id.wrapping_sub(1), id, id + 1] {
                            let mut bytes = datagram.bytes[..at].to_vec();
                            bytes.extend(notify(spis, exchange, flags, id, kind, &[]));
                            let forged = Datagram { bytes, ..*datagram };
                            must_refuse(node, now, &forged, "an error in clear");
                        }
                    }
                }
            }
        });
    }
}

#[test]
fn unknown_spis_are_refused() {
    for setup in setups() {
        let mut chance = SeededRng::new(1);
        unmoved_by(&setup, move |node, now, datagram| {
            let Some(at) = ike_offset(datagram).filter(|_| is_protected(datagram)) else { return };
            for which in [0..8, 8..16, 0..16] {
                let mut changed = datagram.clone();
                chance.fill(&mut changed.bytes[at..][which]);
                let error = node.take(now, &changed);
                assert_eq!(error, Err(InboundError::Ike(DatagramError::UnknownSpi)));
                must_refuse(node, now, &changed, "an unknown SPI");
            }
            // A slot is not found by its number alone.
            let mut swapped = datagram.clone();
            swapped.bytes[at..at + 16].rotate_left(8);
            must_refuse(node, now, &swapped, "exchanged SPIs");
        });
    }
}

const PATIENT: Retransmission = Retransmission {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(4),
    tries: 12,
};

/// Brings the tunnel up while `forge` puts something before the first IKE_SA_INIT message that A gets, or B. Gives the
/// time that it took.
fn up_despite(
    setup: &Setup,
    victim: Side,
    limit: Duration,
    forge: impl Fn(&Datagram) -> Vec<Datagram>,
) -> Duration {
    let mut memory = Memory::new(setup);
    let mut pair = Pair::new(setup, &mut memory);
    let held = Rc::new(RefCell::new(None));
    let hold = Rc::clone(&held);
    let address = pair.node(victim).address;
    pair.link.set_hook(move |_, datagram| {
        let first = exchange_of(datagram) == Some(SA_INIT) && hold.borrow().is_none();
        if first && datagram.destination.address == address {
            *hold.borrow_mut() = Some(datagram.clone());
            return Verdict::Drop;
        }
        Verdict::Pass
    });
    pair.initiate(Side::A).unwrap();
    let begin = pair.now();
    assert!(pair.wait(SECOND, |_| held.borrow().is_some()));
    pair.run_for(Duration::from_millis(10));
    let genuine = held.borrow().clone().unwrap();
    for forged in forge(&genuine) {
        pair.deliver(victim, &forged);
    }
    pair.deliver(victim, &genuine);
    let up = pair.wait(limit, Pair::is_up);
    assert!(up, "kept out\n{}", pair.log());
    let took = pair.now().since(begin);
    pair.ping();
    pair.run_for(2 * MINUTE);
    assert_eq!((pair.a.statistics().ike_sas, pair.b.statistics().ike_sas), (1, 1));
    pair.close_and_check(Side::A);
    took
}

fn patient(seed: u64) -> Setup {
    Setup::new(seed).peers(|peer| peer.retransmission = PATIENT)
}

/// Every bit of the response to IKE_SA_INIT, changed and sent before the true one. The true one wins.
#[test]
fn a_forged_response_to_sa_init_does_not_keep_the_true_one_out() {
    let setup = patient(1);
    let len = {
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.link.tap()[1].datagram.bytes.len()
    };
    for bit in (0..len * 8).step_by(5) {
        up_despite(&setup, Side::A, 20 * SECOND, move |datagram| {
            let mut changed = datagram.clone();
            changed.bytes[bit / 8] ^= 1 << (bit % 8);
            vec![changed]
        });
    }
}

/// Every bit of the request, changed and sent before the true one, as from the same source.
#[test]
fn a_forged_request_for_sa_init_does_not_keep_the_true_one_out() {
    let setup = patient(2);
    let len = {
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.link.tap()[0].datagram.bytes.len()
    };
    for bit in (0..len * 8).step_by(7) {
        up_despite(&setup, Side::B, 20 * SECOND, move |datagram| {
            let mut changed = datagram.clone();
            changed.bytes[bit / 8] ^= 1 << (bit % 8);
            vec![changed]
        });
    }
}

/// RFC 7296 sections 2.6, 2.7 and 2.21.1: errors, cookies and wishes for another group that nobody vouches for.
#[test]
fn forged_answers_to_sa_init_do_not_keep_the_true_one_out() {
    let groups: [u16; 4] = [14, 19, 31, 1];
    let forged: Vec<(NotifyType, Vec<u8>)> = ERRORS
        .into_iter()
        .map(|kind| (kind, vec![]))
        .chain(groups.map(|group| (NotifyType::INVALID_KE_PAYLOAD, group.to_be_bytes().to_vec())))
        .chain([1, 20, 64].map(|len| (NotifyType::COOKIE, vec![7; len])))
        .collect();
    for (kind, data) in &forged {
        let (kind, data) = (*kind, data.clone());
        let took = up_despite(&patient(3), Side::A, 20 * SECOND, move |datagram| {
            let mut spis = [0; 16];
            spis[..8].copy_from_slice(&datagram.bytes[..8]);
            let with = [[0; 8], [9; 8]].map(|spi_r| {
                spis[8..].copy_from_slice(&spi_r);
                let bytes = notify(spis, SA_INIT, 0x20, 0, kind, &data);
                Datagram { bytes, ..*datagram }
            });
            with.to_vec()
        });
        assert!(took < 10 * SECOND, "{kind}: {took:?}");
    }
    // All of them at once.
    up_despite(&patient(4), Side::A, MINUTE, move |datagram| {
        let mut spis = [0; 16];
        spis[..8].copy_from_slice(&datagram.bytes[..8]);
        let all = forged.iter().map(|(kind, data)| Datagram {
            bytes: notify(spis, SA_INIT, 0x20, 0, *kind, data),
            ..*datagram
        });
        all.collect()
    });
}

/// Whoever answers first, with a key exchange of his own, and then refuses IKE_AUTH or says nothing.
#[test]
fn an_impostor_who_answers_first_does_not_win() {
    // The impostor is another gateway at the same address, with another key.
    let setup = patient(5);
    let mut other = patient(6);
    other.b.peers[0].auth = ipsec::Auth::psk(b"of the impostor");
    for silent in [false, true] {
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        let mut impostor_memory = Memory::new(&other);
        let mut impostor = Pair::new(&other, &mut impostor_memory);
        pair.initiate(Side::A).unwrap();
        let begin = pair.now();
        let mut handed = 0;
        while pair.now().since(begin) < 30 * SECOND && !pair.is_up() {
            // What A sends reaches the impostor at once, and his answers come back at once.
            let now = pair.now();
            let sent: Vec<_> =
                pair.link.tap()[handed..].iter().map(|c| c.datagram.clone()).collect();
            handed += sent.len();
            for datagram in sent.iter().filter(|d| d.source.address == ADDRESS_A) {
                let _ = impostor.b.take(now, datagram);
                impostor.b.settle(now);
                let mut buf = [0; 4096];
                while let Some(transmit) = impostor.b.gateway.poll_transmit(&mut buf).unwrap() {
                    let Path { local, remote } = transmit.path;
                    let answer = Datagram::udp(local, remote, &buf[..transmit.len]);
                    if !silent || exchange_of(&answer) == Some(SA_INIT) {
                        pair.run_for(Duration::from_millis(11));
                        pair.deliver(Side::A, &answer);
                    }
                }
            }
            pair.run_for(Duration::from_millis(1));
        }
        assert!(pair.is_up(), "silent {silent}\n{}", pair.log());
        pair.run_for(2 * MINUTE);
        pair.ping();
        pair.close_and_check(Side::A);
    }
}

fn from_a(bytes: Vec<u8>) -> Datagram {
    Datagram::udp(Endpoint::new(ADDRESS_A, 500), Endpoint::new(ADDRESS_B, 500), bytes)
}

/// RFC 7296 section 2.21.2: before IKE_AUTH nothing else is acted on, although it is encrypted with the right keys.
/// CVE-2019-12312, CVE-2020-1763 and CVE-2022-23094 were INFORMATIONAL requests that ended a daemon at this point.
#[test]
fn cve_2019_12312_cve_2020_1763_cve_2022_23094_requests_before_ike_auth_are_refused() {
    let mut setup = Setup::new(7);
    setup.a.config.ike.key_log = true;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.link.set_hook(|_, datagram| {
        if exchange_of(datagram) == Some(AUTH) { Verdict::Drop } else { Verdict::Pass }
    });
    pair.initiate(Side::A).unwrap();
    pair.run_for(Duration::from_millis(100));
    let mut insider = Insider::of(&pair.a, true);
    let now = pair.now();
    let delete_ike = [0, 0, 0, 8, 1, 0, 0, 0];
    for id in [0, 1, 2, 3, u32::MAX] {
        for (exchange, first, payloads) in [
            (INFORMATIONAL, 0, &[][..]),
            (INFORMATIONAL, 42, &delete_ike),
            (CREATE_CHILD, 0, &[]),
            (CREATE_CHILD, 42, &delete_ike),
            (99, 0, &[]),
        ] {
            for flags in [0, 0x20] {
                let message = insider.message(exchange, flags, id, first, payloads);
                must_refuse(&mut pair.b, now, &from_a(message), "a request before IKE_AUTH");
            }
        }
    }
    // The true IKE_AUTH still works.
    pair.link.clear_hook();
    assert!(pair.wait(5 * SECOND, Pair::is_up), "{}", pair.log());
    pair.ping();
    pair.close_and_check(Side::A);
}

/// An IKE_AUTH that proves nothing ends the handshake with an error, and nothing more.
#[test]
fn an_ike_auth_without_proof_is_refused() {
    for payloads in [&[][..], &[0, 0, 0, 12, 2, 0, 0, 0, 1, 2, 3, 4]] {
        let mut setup = Setup::new(8);
        setup.a.config.ike.key_log = true;
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.link.set_hook(|_, datagram| {
            if exchange_of(datagram) == Some(AUTH) { Verdict::Drop } else { Verdict::Pass }
        });
        pair.initiate(Side::A).unwrap();
        pair.run_for(Duration::from_millis(100));
        let mut insider = Insider::of(&pair.a, true);
        let first = if payloads.is_empty() { 0 } else { 39 };
        let message = insider.message(AUTH, 0, 1, first, payloads);
        pair.deliver(Side::B, &from_a(message));
        assert_eq!(pair.b.failures(), [ipsec::Failure::Protocol], "{}", pair.log());
        pair.run_for(20 * MINUTE);
        pair.a.assert_empty();
        pair.b.assert_empty();
    }
}

/// A peer that has authenticated and then sends nonsense: the IKE SA answers, and neither side loses the tunnel.
#[test]
fn nonsense_of_an_authenticated_peer() {
    let mut setup = Setup::new(9).peers(|peer| peer.liveness = None);
    setup.a.config.ike.key_log = true;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    pair.ping();
    // A says nothing itself meanwhile, so that the message IDs are the insider's.
    let mut insider = Insider::of(&pair.a, true);
    let mut chance = SeededRng::new(9);
    let mut id = 2;
    let spi = |pair: &Pair<'_>| pair.b.gateway.sad().inbound_sas().count();
    for round in 0..3000 {
        let exchange = [AUTH, CREATE_CHILD, INFORMATIONAL, 38, 43][chance.below(5) as usize];
        let first = [0, 33, 34, 39, 40, 41, 43, 44, 45, 46, 48, 120][chance.below(12) as usize];
        let mut payloads = vec![0; chance.below(120) as usize];
        chance.fill(&mut payloads);
        if chance.below(2) == 0 && payloads.len() >= 4 {
            // One payload of the right length.
            let len = payloads.len() as u16;
            payloads[0] = 0;
            payloads[2..4].copy_from_slice(&len.to_be_bytes());
        }
        let message = insider.message(exchange, 0, id, first, &payloads);
        let sent = pair.link.tap().len();
        pair.deliver(Side::B, &from_a(message));
        // Its answer would only confuse A.
        let answered = pair.link.tap().len() > sent;
        pair.link.set_hook(|_, _| Verdict::Drop);
        pair.run_for(Duration::from_millis(1));
        if answered {
            id += 1;
        }
        assert_eq!(spi(&pair), 1, "round {round}");
        assert!(pair.b.is_up(), "round {round}");
        assert!(pair.b.ike_downs().is_empty(), "round {round}");
        pair.link.clear_hook();
    }
    assert!(id > 1000, "{id}");
    pair.ping();
}

/// A peer may have new keys for each of its children (RFC 7296 section 1.3.3), and has to delete the old ones. If it never does,
/// it gets a few, and does not take those of others.
#[test]
fn one_peer_does_not_take_all_children_by_rekeying() {
    let mut setup = Setup::new(13).peers(|peer| peer.liveness = None);
    setup.a.config.ike.key_log = true;
    setup.b.sizes.children = 32;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    // A's own request, which gets lost, shows how one is made.
    let asked = Rc::new(RefCell::new(Vec::new()));
    let seen = asked.clone();
    pair.link.set_hook(move |_, datagram| {
        if exchange_of(datagram) == Some(CREATE_CHILD) {
            seen.replace(datagram.bytes.clone());
        }
        Verdict::Drop
    });
    pair.rekey(Side::A).unwrap();
    let mut insider = Insider::of(&pair.a, true);
    let request = asked.take();
    let id = u32::from_be_bytes(*request[20..].first_chunk().unwrap());
    let mut payloads = insider.open(&request);
    let mut most = 0;
    for n in 0..40 {
        // REKEY_SA names what the request before has made; all proposals have one SPI, which is new.
        let made: [u8; 4] = payloads[24..28].try_into().unwrap();
        let fresh = (0x7000_0000_u32 + n).to_be_bytes();
        if n > 0 {
            payloads[8..12].copy_from_slice(&made);
        }
        for at in 12..payloads.len() - 4 {
            if payloads[at..at + 4] == made {
                payloads[at..at + 4].copy_from_slice(&fresh);
            }
        }
        let message = insider.message(CREATE_CHILD, 0, id + n, 41, &payloads);
        pair.deliver(Side::B, &from_a(message));
        most = most.max(pair.b.statistics().children);
    }
    assert_eq!(most, 8, "{}", pair.log());
    assert!(pair.b.failures().contains(&ipsec::Failure::NoRoom), "{}", pair.log());
}

/// Message IDs that are not the next one are refused, although all else is right (RFC 7296 section 2.3, a window of one).
#[test]
fn message_ids_out_of_order_are_refused() {
    let mut setup = Setup::new(10).peers(|peer| peer.liveness = None);
    setup.a.config.ike.key_log = true;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let mut insider = Insider::of(&pair.a, true);
    let now = pair.now();
    for id in [0, 3, 4, 100, 0x8000_0000, u32::MAX] {
        let message = insider.message(INFORMATIONAL, 0, id, 0, &[]);
        must_refuse(&mut pair.b, now, &from_a(message), "a message ID out of order");
        // Nobody has asked for this.
        let message = insider.message(INFORMATIONAL, 0x20, id, 0, &[]);
        must_refuse(&mut pair.b, now, &from_a(message), "an answer to nothing");
    }
    let message = insider.message(INFORMATIONAL, 0, 2, 0, &[]);
    assert_eq!(pair.b.take(now, &from_a(message)), Ok(()));
}

/// An old request from elsewhere does not move a peer that is behind a NAT: only the newest message does
/// (RFC 7296 section 2.23).
#[test]
fn a_repeated_message_from_elsewhere_moves_nobody() {
    let setup = Setup::new(11).behind_nat();
    let elsewhere = Endpoint::new(v4(198, 18, 0, 66), 4500);
    let seen = Rc::new(RefCell::new(Vec::<(Side, Datagram)>::new()));
    unmoved_by(&setup, move |node, now, datagram| {
        let victim = node.side;
        for (_, old) in seen.borrow().iter().filter(|(side, _)| *side == victim) {
            let moved = Datagram { source: elsewhere, ..old.clone() };
            let before = digest(node, now);
            let _ = node.take(now, &moved);
            assert_eq!(digest(node, now), before);
            // A repeated response goes to where the request came from, and nowhere else.
            let mut buf = [0; 4096];
            while node.gateway.poll_transmit(&mut buf).unwrap().is_some() {}
        }
        if is_protected(datagram) {
            seen.borrow_mut().push((node.side, datagram.clone()));
        }
    });
}

/// IKE_SA_INIT messages of the past, again: at most a handshake that comes to nothing.
#[test]
fn repeated_sa_init_does_not_touch_the_tunnel() {
    let setup = Setup::new(12);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let old: Vec<_> = pair.link.tap().iter().map(|c| c.datagram.clone()).collect();
    for _ in 0..20 {
        for datagram in &old {
            let side = if datagram.destination.address == ADDRESS_B { Side::B } else { Side::A };
            pair.deliver(side, datagram);
        }
        pair.run_for(SECOND);
        pair.ping();
    }
    assert!(pair.a.statistics().ike_sas == 1 && pair.b.statistics().ike_sas <= 2);
    pair.run_for(MINUTE);
    assert_eq!((pair.a.statistics().ike_sas, pair.b.statistics().ike_sas), (1, 1));
    assert!(pair.a.child_downs().is_empty() && pair.b.child_downs().is_empty());
    pair.close_and_check(Side::A);
}
