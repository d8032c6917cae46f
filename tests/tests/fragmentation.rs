//! Messages in fragments (RFC 7383): certificates over paths that lose long datagrams, and what an insider, a stranger and
//! somebody on the path make of fragments.

use core::cell::RefCell;
use core::time::Duration;
use std::rc::Rc;

use ipsec::{
    Auth, DatagramError, Failure, Group, InboundError, LocalAuth, PrfId, RemoteAuth,
    SIGNATURE_SCHEMES, SigningKey, Suite,
};
use ipsec_core::crypto::{Encr, Integ};
use ipsec_ike::config::IkeProposal;
use ipsec_ike::wire::{ExchangeType, Header, Message};
use ipsec_testkit::link::{Chance, Datagram, Fate, Oversize, Verdict, Weather};
use ipsec_testkit::pair::{Memory, Pair};
use ipsec_testkit::setup::{Setup, Side, leak_all};
use ipsec_testkit::toy_keys::public_key;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A path that loses what is longer, and nothing else.
const fn path(mtu: usize) -> Weather {
    Weather::FAIR.with_mtu(mtu, Oversize::Drop)
}

/// Both sides show certificates of their own and of two issuers, 4000 bytes in all.
fn setup(seed: u64) -> Setup {
    let names = [(1u8, "kolkata.example"), (2, "delhi.example")];
    let mut setup = Setup::new(seed).sizes(|sizes| sizes.buffer_len = 7000);
    for (side, (key, name)) in Side::BOTH.into_iter().zip(names) {
        let own: &[u8] = leak_all([&public_key(key)[..], name.as_bytes()].concat());
        let issuers = [1, 2].map(|n| leak_all(vec![n; 2000]));
        setup.plan(side).peers[0].auth = Auth {
            local: LocalAuth::Certificate {
                chain: leak_all([own, issuers[0], issuers[1]]),
                key: SigningKey { id: key.into(), schemes: SIGNATURE_SCHEMES },
            },
            remote: RemoteAuth::Certificate { anchors: &[], schemes: SIGNATURE_SCHEMES },
        };
    }
    setup
}

/// An IKE message on either port.
fn message(datagram: &Datagram) -> &[u8] {
    let bytes = &datagram.bytes[..];
    if datagram.source.port == 500 || bytes.len() < 4 { bytes } else { &bytes[4..] }
}

/// The fragment that a datagram is.
fn fragment(datagram: &Datagram) -> Option<(Header, u16, u16)> {
    let message = Message::parse(message(datagram)).ok()?;
    let fragment = message.collect().ok()?.encrypted?.fragment?;
    Some((message.header, fragment.number, fragment.total))
}

fn is_fragment(datagram: &Datagram) -> bool {
    fragment(datagram).is_some()
}

/// How many fragments were sent.
fn fragments(pair: &Pair<'_>) -> usize {
    pair.link.tap().iter().filter(|c| is_fragment(&c.datagram)).count()
}

/// RFC 7383 section 2.5.1: no packet is longer than the limit, whatever the cipher.
#[test]
fn certificates_over_a_short_path() {
    let suites = [
        Suite::AES_128_GCM,
        Suite::CHACHA20_POLY1305,
        Suite::AES_128_CBC_SHA256,
        Suite { encr: Encr::AES_CBC, key_bits: 256, integ: Integ::HMAC_SHA2_512_256 },
    ];
    let cases = suites.iter().flat_map(|suite| [300, 576, 577, 1280].map(|limit| (suite, limit)));
    for (n, (suite, limit)) in cases.enumerate() {
        let proposals = leak_all([IkeProposal {
            suites: leak_all([*suite]),
            prfs: &[PrfId::HMAC_SHA2_256],
            groups: &[Group::X25519],
            additional: &[],
        }]);
        // IKE_SA_INIT is never cut: it has not been agreed on then.
        let mtu = usize::from(limit.max(576));
        let setup = setup(1).weather(path(mtu)).peers(|peer| {
            peer.fragment_size = Some(limit);
            peer.proposals = proposals;
        });
        let setup = if n % 2 == 0 { setup.behind_nat() } else { setup };
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.ping();
        let sent: Vec<_> = pair.link.tap().iter().filter(|c| is_fragment(&c.datagram)).collect();
        let least = 2 * 4000 / usize::from(limit);
        assert!(sent.len() > least, "{suite}: {}", sent.len());
        assert!(pair.link.tap().iter().all(|c| c.fate == Fate::Sent(1)), "{suite}");
        // All but the last of a message are as long as they may be, but for a block of the cipher.
        for c in sent {
            let (_, number, total) = fragment(&c.datagram).unwrap();
            let slack = usize::from(limit) - c.datagram.packet_len();
            assert!(number == total || slack < 16 + 4, "{suite}: {slack}");
        }
        pair.close_and_check(Side::B);
    }
}

/// Without fragments, the same path carries no certificates, and the failure says what is missing.
#[test]
fn the_same_path_without_fragments() {
    for (a, b) in [(None, Some(1280)), (Some(1280), None), (None, None)] {
        let mut setup = setup(2).weather(path(1280));
        setup.a.peers[0].fragment_size = a;
        setup.b.peers[0].fragment_size = b;
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.initiate(Side::A).unwrap();
        pair.run_for(10 * MINUTE);
        assert!(!pair.is_up() && fragments(&pair) == 0);
        let [Failure::FragmentationNeeded { exchange, tries, len }] = pair.a.failures()[..] else {
            panic!("{}", pair.log());
        };
        assert_eq!(exchange, ExchangeType::IKE_AUTH);
        assert!(tries > 3 && len > 4000);
        let told = pair.a.failures()[0].to_string();
        assert!(told.contains("fragmentation"), "{told}");
        pair.a.assert_empty();
        pair.b.assert_empty();
        // RFC 7383 section 2.3: whom one side does not understand is sent whole messages, which another path carries.
        pair.link.set_weather(path(9000));
        pair.bring_up();
        pair.ping();
        assert_eq!(fragments(&pair), 0);
        pair.close_and_check(Side::A);
    }
}

/// Requests and responses of every exchange in fragments, over a path that loses, repeats and reorders them.
#[test]
fn fragments_in_a_storm() {
    let mut sent = 0;
    let seeds = std::env::var("IPSEC_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    for seed in 0..seeds {
        let mut storm = Weather::STORM.with_mtu(576, Oversize::Drop);
        storm.loss = Chance::percent(1 + (seed % 8) as u32);
        let mut setup = setup(seed).weather(storm).peers(|peer| {
            peer.fragment_size = Some(576);
            peer.retransmission.tries = 30;
            peer.retransmission.longest = 2 * SECOND;
        });
        if seed % 3 == 0 {
            setup = setup.behind_nat();
        }
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.initiate(Side::A).unwrap();
        assert!(pair.wait(5 * MINUTE, Pair::is_up), "seed {seed}\n{}", pair.log());
        sent += fragments(&pair);
        pair.link.set_weather(path(576));
        pair.run_for(10 * SECOND);
        assert!(pair.is_up(), "seed {seed}\n{}", pair.log());
        pair.ping();
        pair.close_and_check(Side::A);
    }
    assert!(sent > usize::try_from(seeds).unwrap() * 2 * 8, "{sent}");
}

/// Both rekeys, each way, in the smallest fragments there are: an SA that replaces another one goes on with fragments.
#[test]
fn rekeys_in_fragments() {
    let setup = setup(3).weather(path(576)).peers(|peer| peer.fragment_size = Some(0));
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    for side in [Side::A, Side::B, Side::A, Side::B] {
        let before = fragments(&pair);
        pair.rekey_ike(side).unwrap();
        pair.run_for(SECOND);
        assert!(fragments(&pair) > before);
        let before = fragments(&pair);
        pair.rekey(side).unwrap();
        pair.run_for(SECOND);
        assert!(fragments(&pair) > before);
        pair.ping();
    }
    let longest = pair.link.tap().iter().map(|c| &c.datagram).filter(|d| is_fragment(d));
    assert!((240..=256).contains(&longest.map(Datagram::packet_len).max().unwrap()));
    assert_eq!((pair.a.ike_rekeys(), pair.b.ike_rekeys()), (4, 4), "{}", pair.log());
    assert_eq!((pair.a.child_rekeys(), pair.b.child_rekeys()), (4, 4), "{}", pair.log());
    pair.close_and_check(Side::B);
}

/// RFC 7383 section 2.6.1: a response is repeated when the first fragment of its request comes again, and only then.
#[test]
fn a_response_is_repeated_once_for_all_fragments() {
    let setup = setup(4);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    // The response is lost, so that the request is repeated.
    let requests = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&requests);
    pair.link.set_hook(move |_, datagram| match fragment(datagram) {
        Some((header, ..)) if header.is_response() => Verdict::Drop,
        Some(_) => {
            seen.borrow_mut().push(datagram.clone());
            Verdict::Drop
        }
        None => Verdict::Pass,
    });
    pair.initiate(Side::A).unwrap();
    pair.run_for(Duration::from_millis(100));
    let requests = requests.take();
    assert_eq!(requests.len(), 4);
    let responses = |pair: &Pair<'_>| {
        let is_response = |d: &Datagram| fragment(d).is_some_and(|(h, ..)| h.is_response());
        pair.link.tap().iter().filter(|c| is_response(&c.datagram)).count()
    };
    for request in requests.iter().rev() {
        assert_eq!(responses(&pair), 0);
        pair.deliver(Side::B, request);
    }
    assert!(pair.b.is_up(), "{}", pair.log());
    assert_eq!(responses(&pair), 4);
    let before = pair.b.statistics();
    for (n, request) in requests.iter().enumerate().rev() {
        pair.deliver(Side::B, request);
        assert_eq!(responses(&pair), if n == 0 { 8 } else { 4 });
    }
    let stale = InboundError::Ike(DatagramError::Stale);
    assert_eq!(pair.b.errors.iter().filter(|(_, e)| *e == stale).count(), 3);
    assert_eq!(pair.b.statistics(), before);
    // What is repeated is what was sent.
    let sent: Vec<_> = pair.link.tap().iter().map(|c| &c.datagram).collect();
    let sent: Vec<_> = sent.into_iter().filter(|d| d.source.address == pair.b.address).collect();
    let (first, again) = sent[sent.len() - 8..].split_at(4);
    assert_eq!(first, again);
}
