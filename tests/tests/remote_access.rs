//! Remote access by IKEv1: a user's name and password (XAUTH), and an address in the inner network (Mode Config).

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use ipsec::{
    Ask, Auth, ChildRef, DatagramError, DownReason, Failure, GatewayEvent, Given, Identity,
    InboundError, LocalAuth, Phase1Mode, Pool, RemoteAuth, SigningKey, TrafficSelector, User, V1,
    Versions, Xauth,
};
use ipsec_core::crypto::SignatureScheme;
use ipsec_testkit::link::{Chance, Datagram, Verdict, Weather};
use ipsec_testkit::pair::{Memory, Node, Pair, Sent};
use ipsec_testkit::setup::{HOST_B, Setup, Side, leak, leak_all, v4};
use ipsec_testkit::toy_keys::public_key;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

const DNS: &[IpAddr] = &[v4(10, 3, 0, 53)];
const NETWORKS: &[(Ipv4Addr, u8)] =
    &[(Ipv4Addr::new(192, 168, 2, 0), 24), (Ipv4Addr::new(10, 9, 8, 7), 32)];
const POOL: Pool<'static> = Pool {
    ipv4: Some((Ipv4Addr::new(10, 3, 0, 1), Ipv4Addr::new(10, 3, 0, 3))),
    ipv6: None,
    dns: DNS,
    domains: &[],
    networks: NETWORKS,
};
const ASK: Ask = Ask { ipv4: true, ipv6: false, dns: true };
const ASHA: User<'static> = User { name: b"asha", password: b"password of asha" };
const USERS: Xauth<'static> =
    Xauth::Users(&[User { name: b"ravi", password: b"password of ravi" }, ASHA]);

/// A is the user, and B the server.
fn xauth(seed: u64, v1: V1<'static>, user: Xauth<'static>, server: Xauth<'static>) -> Setup {
    let mut setup = Setup::new(seed);
    setup.a.peers[0].versions = Versions::V1(V1 { xauth: user, ..v1 });
    setup.b.peers[0].versions = Versions::V1(V1 { xauth: server, ..v1 });
    setup
}

/// And B gives A an address.
fn with_address(mut setup: Setup, pool: Pool<'static>) -> Setup {
    setup = setup
        .children_of(Side::A, |child| child.local = leak_all([TrafficSelector::ANY_V4]))
        .children_of(Side::B, |child| child.remote = leak_all([TrafficSelector::ANY_V4]));
    setup.a.peers[0].asks = ASK;
    setup.b.peers[0].assigns = true;
    setup.b.config.ike.pool = Some(leak(pool));
    setup
}

fn given(node: &Node<'_>) -> Vec<Given> {
    let given = node.events.iter().filter_map(|(_, event)| match event {
        GatewayEvent::Configured { given, .. } => Some(given.clone()),
        _ => None,
    });
    given.collect()
}

/// The address that A has, and traffic from and to it.
fn talk(pair: &mut Pair<'_>) -> Ipv4Addr {
    let inner =
        given(&pair.a).last().and_then(|g| g.ipv4).unwrap_or_else(|| panic!("{}", pair.log()));
    let before = (pair.a.received.len(), pair.b.received.len());
    assert_eq!(
        pair.send_between(Side::A, (inner.into(), HOST_B), 1),
        Sent::Sealed,
        "{}",
        pair.log()
    );
    assert_eq!(
        pair.send_between(Side::B, (HOST_B, inner.into()), 2),
        Sent::Sealed,
        "{}",
        pair.log()
    );
    pair.run_for(SECOND);
    let after = (pair.a.received.len(), pair.b.received.len());
    assert_eq!(after, (before.0 + 1, before.1 + 1), "{}", pair.log());
    inner
}

/// How often each exchange type stands in the datagrams from one side.
fn sent(pair: &Pair<'_>, from: IpAddr, exchange: u8) -> usize {
    let of = |bytes: &[u8], at: usize| bytes.get(at).copied();
    pair.link
        .tap()
        .iter()
        .filter(|c| {
            let d = &c.datagram;
            let marker = if d.bytes.starts_with(&[0; 4]) { 4 } else { 0 };
            d.source.address == from && of(&d.bytes, marker + 18) == Some(exchange)
        })
        .count()
}

/// draft-beaulieu-ike-xauth-02 section 3: a tunnel for a user, whom the server knows itself or asks its caller about, in both
/// modes of phase 1.
#[test]
fn a_user_comes_in() {
    for (seed, v1) in [(1, V1::MAIN), (2, V1::AGGRESSIVE)] {
        for server in [USERS, Xauth::Ask] {
            for behind_nat in [false, true] {
                let setup = xauth(seed, v1, Xauth::User(ASHA), server);
                let setup = if behind_nat { setup.behind_nat() } else { setup };
                let mut memory = Memory::new(&setup);
                let mut pair = Pair::new(&setup, &mut memory);
                pair.bring_up();
                pair.ping();
                assert_eq!((pair.a.failures(), pair.b.failures()), (vec![], vec![]));
                // REQUEST and SET, REPLY and ACK.
                assert_eq!(sent(&pair, setup.b.address, 6), 2);
                pair.close_and_check(Side::A);
            }
        }
    }
}

/// Phase 1 alone opens nothing: the caller is not told that the peer is there.
#[test]
fn nobody_comes_in_with_another_password() {
    for (name, password) in
        [(&b"asha"[..], &b"password of ravi"[..]), (b"nobody", b"password of asha"), (b"asha", b"")]
    {
        for server in [USERS, Xauth::Ask] {
            let user = Xauth::User(User { name, password });
            let setup = with_address(xauth(3, V1::MAIN, user, server), POOL);
            let mut memory = Memory::new(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            pair.initiate(Side::A).unwrap();
            pair.run_for(10 * SECOND);
            assert_eq!(pair.a.failures(), [Failure::UserRefused], "{}", pair.log());
            let [Failure::UserUnknown { claimed }] = &pair.b.failures()[..] else {
                panic!("{}", pair.log())
            };
            assert_eq!(claimed.to_string().as_bytes(), name);
            for node in [&pair.a, &pair.b] {
                let up = |e: &GatewayEvent| {
                    matches!(e, GatewayEvent::IkeUp { .. } | GatewayEvent::ChildUp { .. })
                };
                assert_eq!(node.count(up), 0);
            }
            pair.run_for(MINUTE);
            pair.a.assert_empty();
            pair.b.assert_empty();
        }
    }
}

/// One side wants a user and the other does not: the method of authentication differs.
#[test]
fn xauth_on_one_side() {
    for (user, server) in [(Xauth::User(ASHA), Xauth::None), (Xauth::None, USERS)] {
        let setup = xauth(4, V1::MAIN, user, server);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.initiate(Side::A).unwrap();
        pair.run_for(10 * MINUTE);
        assert_eq!(pair.a.failures(), [Failure::ProposalRefused]);
        let why = pair.b.failures()[0].to_string();
        assert!(why.contains("authentication"), "{why}");
        pair.a.assert_empty();
        pair.b.assert_empty();
    }
}

/// The server begins phase 1, and the client is still the one with the user (XAUTHRespPreShared).
#[test]
fn the_server_begins() {
    let setup = xauth(5, V1::MAIN, Xauth::User(ASHA), USERS);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::B).unwrap();
    assert!(pair.wait(10 * SECOND, Pair::is_up), "{}", pair.log());
    pair.ping();
    pair.close_and_check(Side::B);
}

/// A server that begins with somebody who is there already, for another tunnel, does not say that it has forgotten him.
#[test]
fn the_server_begins_once_more() {
    let setup = xauth(6, V1::MAIN, Xauth::User(ASHA), USERS).tunnels(2);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let second = ChildRef { peer: 0, child: 1 };
    pair.with(Side::B, |g, now, rng| g.initiate(now, rng, second)).unwrap();
    assert!(pair.wait(SECOND, |pair| pair.b.tunnel_is_up(second)), "{}", pair.log());
    pair.run_for(MINUTE);
    for side in [&pair.a, &pair.b] {
        assert!(side.is_up() && side.tunnel_is_up(second));
        assert!(side.ike_downs().iter().all(|why| *why == DownReason::Rekeyed), "{}", pair.log());
    }
    pair.ping();
    pair.close_and_check(Side::A);
}

/// draft-dukes-ike-mode-cfg-02 section 3: the client asks, or the server tells; with a user and without. The client's side
/// of Quick Mode is what it was given.
#[test]
fn a_client_gets_an_address() {
    for (user, server) in [(Xauth::None, Xauth::None), (Xauth::User(ASHA), USERS)] {
        for push in [false, true] {
            for mode in [Phase1Mode::Main, Phase1Mode::Aggressive] {
                let v1 = V1 { push, mode, ..V1::MAIN };
                let setup = with_address(xauth(6, v1, user, server), POOL).behind_nat();
                let mut memory = Memory::new(&setup);
                let mut pair = Pair::new(&setup, &mut memory);
                pair.bring_up();
                let inner = talk(&mut pair);
                assert!((1..=3).contains(&inner.octets()[3]));
                assert_eq!(given(&pair.a)[0].dns[..], *DNS);
                assert_eq!(given(&pair.a)[0].networks[..], *NETWORKS);
                // Another address is not what was agreed.
                assert_eq!(pair.send(Side::A, 3), Sent::Discarded);
                // It stays when keys are replaced, those of phase 2 from both sides, and those of phase 1.
                for side in Side::BOTH {
                    pair.rekey(side).unwrap();
                    pair.run_for(20 * SECOND);
                    assert_eq!(talk(&mut pair), inner);
                }
                pair.rekey_ike(Side::A).unwrap();
                pair.run_for(20 * SECOND);
                assert_eq!(talk(&mut pair), inner, "{}", pair.log());
                assert_eq!((pair.a.ike_rekeys(), pair.b.ike_rekeys()), (1, 1), "{}", pair.log());
                pair.rekey(Side::A).unwrap();
                pair.run_for(20 * SECOND);
                assert_eq!(talk(&mut pair), inner);
                assert_eq!((pair.a.failures(), pair.b.failures()), (vec![], vec![]));
                pair.close_and_check(Side::A);
            }
        }
    }
}

/// Nothing to give, nobody to give it, and a client that asks for nothing.
#[test]
fn no_address() {
    let fails = |setup: &Setup| {
        let mut memory = Memory::new(setup);
        let mut pair = Pair::new(setup, &mut memory);
        pair.initiate(Side::A).unwrap();
        pair.run_for(2 * MINUTE);
        for node in [&pair.a, &pair.b] {
            assert_eq!(node.count(|e| matches!(e, GatewayEvent::ChildUp { .. })), 0);
        }
        let told = (pair.a.failures(), pair.b.failures());
        pair.close_and_check(Side::A);
        told
    };
    for push in [false, true] {
        let v1 = V1 { push, ..V1::MAIN };
        let mut setup = with_address(xauth(7, v1, Xauth::User(ASHA), USERS), POOL);
        setup.b.leases = 0;
        let (a, b) = fails(&setup);
        assert_eq!(b, [Failure::NoAddress]);
        assert!(matches!(a[..], [Failure::NotConfigured]), "{a:?}");
        // The server gives none.
        let mut setup = with_address(xauth(8, v1, Xauth::None, Xauth::None), POOL);
        setup.b.peers[0].assigns = false;
        let (a, _) = fails(&setup);
        assert_eq!(a, [Failure::NotConfigured]);
    }
    // Whoever takes no address gets no tunnel (RFC 7296 section 2.19 has the same rule).
    let mut setup = with_address(xauth(9, V1::MAIN, Xauth::User(ASHA), USERS), POOL);
    setup.a.peers[0].asks = Ask::NOTHING;
    let (a, b) = fails(&setup);
    assert_eq!(a, [Failure::SelectorsRefused]);
    assert!(matches!(b[..], [Failure::NoSelectors { .. }]), "{b:?}");
}

/// Each user has an address of his own, and the same when he comes again. What one says who has only the key of the group, as
/// INITIAL_CONTACT, ends nothing of another one's.
#[test]
fn users_of_one_group() {
    let of = |name: &'static str| {
        let password = leak_all(format!("password of {name}").into_bytes());
        let user = Xauth::User(User { name: name.as_bytes(), password });
        let last = Ipv4Addr::new(10, 3, 0, 9);
        let pool = Pool { ipv4: POOL.ipv4.map(|(first, _)| (first, last)), ..POOL };
        with_address(xauth(10, V1::MAIN, user, Xauth::Ask), pool).sizes(|sizes| {
            *sizes = ipsec::Sizes { window: 128, ..ipsec::Sizes::for_tunnels(12) };
        })
    };
    let names = ["asha", "ravi", "meera", "kiran", "leela", "vikram"];
    let mut memories: Vec<_> =
        names.iter().chain(&names).map(|name| (Memory::new(&of(name)), *name)).collect();
    let (first, rest) = memories.split_first_mut().unwrap();
    let mut pair = Pair::new(&of(first.1), &mut first.0);
    pair.bring_up();
    let mut addresses = vec![talk(&mut pair)];
    for (memory, name) in rest {
        // Without a word: B knows nothing of the end of the one before.
        pair.restart(Side::A, &of(name), memory);
        pair.initiate(Side::A).unwrap();
        assert!(pair.wait(10 * SECOND, |pair| pair.a.is_up()), "{}", pair.log());
        pair.run_for(SECOND);
        addresses.push(talk(&mut pair));
    }
    assert_eq!(pair.b.ike_downs(), [], "{}", pair.log());
    let (before, after) = addresses.split_at(names.len());
    assert_eq!(before, after);
    let different: std::collections::BTreeSet<_> = before.iter().collect();
    assert_eq!(different.len(), names.len());
    pair.run_for(30 * SECOND);
    assert_eq!(pair.b.statistics().ike_sas, names.len(), "{}", pair.log());
}

/// A server that never asks, and one that goes silent at each point, are given up, and nothing is left.
#[test]
fn silence() {
    for (push, let_through) in
        [(false, 0), (false, 1), (false, 2), (false, 3), (true, 0), (true, 2), (true, 3)]
    {
        for from_server in [true, false] {
            let v1 = V1 { push, ..V1::MAIN };
            let setup = with_address(xauth(11, v1, Xauth::User(ASHA), USERS), POOL);
            let mut memory = Memory::new(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            let silent = if from_server { setup.b.address } else { setup.a.address };
            let mut left = let_through;
            pair.link.set_hook(move |_, d| {
                let transaction = d.bytes.get(18) == Some(&6);
                if !transaction || d.source.address != silent {
                    return Verdict::Pass;
                }
                if left == 0 {
                    return Verdict::Drop;
                }
                left -= 1;
                Verdict::Pass
            });
            pair.initiate(Side::A).unwrap();
            pair.run_for(10 * MINUTE);
            if pair.is_up() {
                // All that there is to say had been said.
                pair.close_and_check(Side::A);
                continue;
            }
            let told = pair.a.failures().len() + pair.a.ike_downs().len();
            assert_eq!(told, 1, "{push} {let_through}: {}", pair.log());
            pair.link.clear_hook();
            pair.close_and_check(Side::A);
        }
    }
}

/// Losses, repetitions, another order: every user comes in all the same, and in the end nothing is left.
#[test]
fn bad_weather() {
    for seed in 0..40 {
        let v1 = V1 {
            push: seed % 2 == 0,
            mode: if seed % 3 == 0 { Phase1Mode::Aggressive } else { Phase1Mode::Main },
            ..V1::MAIN
        };
        let server = if seed % 5 == 0 { Xauth::Ask } else { USERS };
        let setup = with_address(xauth(seed, v1, Xauth::User(ASHA), server), POOL);
        let setup = setup.weather(Weather {
            loss: Chance::percent(15),
            duplication: Chance::percent(15),
            reordering: Chance::percent(15),
            ..Weather::STORM
        });
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        for _ in 0..5 {
            let _ = pair.initiate(Side::A);
            if pair.wait(5 * MINUTE, Pair::is_up) {
                break;
            }
        }
        assert!(pair.is_up(), "{seed}\n{}", pair.log());
        pair.rekey_ike(Side::A).unwrap();
        pair.run_for(2 * MINUTE);
        pair.link.set_weather(Weather::FAIR);
        pair.run_for(MINUTE);
        talk(&mut pair);
        pair.close_and_check(Side::A);
    }
}

/// What we say last before the SA is up, and the first message of Quick Mode, leave one after the other: some peers end an SA
/// when they handle the second one first. But whoever spoke first before may go on at once.
#[test]
fn quick_mode_does_not_overtake() {
    for (seed, v1) in [(20, V1::MAIN), (21, V1 { push: true, ..V1::MAIN }), (22, V1::AGGRESSIVE)] {
        for user in [true, false] {
            let (client, server) =
                if user { (Xauth::User(ASHA), USERS) } else { (Xauth::None, Xauth::None) };
            let setup = xauth(seed, v1, client, server);
            let setup = if v1.push { with_address(setup, POOL) } else { setup };
            let mut memory = Memory::new(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            pair.bring_up();
            let said: Vec<_> = pair.link.tap().iter().map(|c| (c.at, &c.datagram)).collect();
            let kind = |d: &Datagram| d.bytes.get(18).copied();
            let first = said.iter().position(|(_, d)| kind(d) == Some(32)).unwrap();
            let (at, quick) = said[first];
            let (before, last) = said[first - 1];
            assert_eq!(quick.source.address, setup.a.address);
            let ours = last.source == quick.source;
            assert_eq!(ours, user || v1.push || v1.mode == Phase1Mode::Aggressive);
            let pause = at.since(before);
            let enough = pause >= Duration::from_millis(100);
            assert!(enough == ours && pause < SECOND, "{pause:?}");
        }
    }
}

/// And when the first message of Quick Mode does arrive first, with a responder of ours: it is not acted on, the SA stays, and
/// all goes on when what was missing has come.
#[test]
fn quick_mode_overtakes() {
    for (seed, push) in [(23, false), (24, true)] {
        let setup = xauth(seed, V1 { push, ..V1::MAIN }, Xauth::User(ASHA), USERS);
        let setup = if push { with_address(setup, POOL) } else { setup };
        let (client, mut answers) = (setup.a.address, if push { 3 } else { 2 });
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        // The last of its answers gets lost: it is asked for again after Quick Mode has begun.
        pair.link.set_hook(move |_, d| {
            let answer = d.bytes.get(18) == Some(&6) && d.source.address == client;
            answers -= i32::from(answer);
            if answer && answers == 0 { Verdict::Drop } else { Verdict::Pass }
        });
        pair.bring_up();
        let early = InboundError::Ike(DatagramError::Unexpected);
        assert!(pair.b.errors.iter().any(|(_, e)| *e == early), "{:?}", pair.b.errors);
        assert_eq!((pair.a.failures(), pair.b.failures()), (vec![], vec![]));
        assert_eq!((pair.a.ike_downs(), pair.b.ike_downs()), (vec![], vec![]));
        assert_eq!(pair.a.count(|e| matches!(e, GatewayEvent::IkeUp { .. })), 1);
        if push {
            talk(&mut pair);
        } else {
            pair.ping();
        }
        pair.close_and_check(Side::A);
    }
}

/// Of two exchanges that there is room for, those that only keep an answer give way, on either side.
#[test]
fn answers_that_are_kept_make_room() {
    for begins in Side::BOTH {
        let mut setup = xauth(19, V1::MAIN, Xauth::User(ASHA), USERS);
        for side in Side::BOTH {
            setup.plan(side).sizes.exchanges = 2;
        }
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.initiate(begins).unwrap();
        assert!(pair.wait(SECOND, Pair::is_up), "{begins:?}\n{}", pair.log());
        for (count, side) in [(1, Side::A), (2, Side::B), (3, Side::A)] {
            pair.rekey(side).unwrap();
            let done = |pair: &Pair<'_>| pair.a.child_rekeys().min(pair.b.child_rekeys()) == count;
            assert!(pair.wait(SECOND, done), "{begins:?} {side:?}\n{}", pair.log());
        }
        pair.ping();
        pair.close_and_check(Side::A);
    }
}

/// Two tunnels wait for the one user, and the second is asked for while he is checked.
#[test]
fn tunnels_wait_for_the_user() {
    let setup = xauth(12, V1::MAIN, Xauth::User(ASHA), USERS).tunnels(2);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    for child in 0..2 {
        pair.with(Side::A, |g, now, rng| g.initiate(now, rng, ChildRef { peer: 0, child }))
            .unwrap();
        pair.run_for(SECOND / 20);
    }
    pair.run_for(10 * SECOND);
    for child in 0..2 {
        assert!(pair.a.tunnel_is_up(ChildRef { peer: 0, child }), "{}", pair.log());
    }
    assert_eq!(pair.a.count(|e| matches!(e, GatewayEvent::IkeUp { .. })), 1);
    pair.close_and_check(Side::B);
}

/// Both sides sign as phase 1 of IKEv1 has it, by RSA, or with `hybrid` B alone.
fn signed(mut setup: Setup, hybrid: bool) -> Setup {
    const RSA: &[SignatureScheme] = &[SignatureScheme::RsaIkev1];
    for (side, own, other) in [(Side::A, 1, 2), (Side::B, 2, 1)] {
        let spki = |name| leak(public_key(name));
        let key = SigningKey { id: own.into(), schemes: RSA };
        let mut auth = Auth {
            local: LocalAuth::RawPublicKey { spki: spki(own), key },
            remote: RemoteAuth::RawPublicKey { spki: spki(other), schemes: RSA },
        };
        match side {
            Side::A if hybrid => auth.local = LocalAuth::User,
            Side::B if hybrid => auth.remote = RemoteAuth::User,
            _ => {}
        }
        setup.plan(side).peers[0].auth = auth;
    }
    setup
}

/// draft-ietf-ipsec-isakmp-hybrid-auth-05: the server signs, and the client has nothing but its user; or both sign.
#[test]
fn a_user_of_a_server_that_signs() {
    for hybrid in [false, true] {
        for v1 in [V1::MAIN, V1::AGGRESSIVE] {
            for begins in Side::BOTH {
                let setup = signed(xauth(14, v1, Xauth::User(ASHA), USERS), hybrid);
                let mut memory = Memory::new(&setup);
                let mut pair = Pair::new(&setup, &mut memory);
                pair.initiate(begins).unwrap();
                assert!(pair.wait(10 * SECOND, Pair::is_up), "{hybrid} {begins:?}\n{}", pair.log());
                pair.ping();
                pair.close_and_check(Side::A);
            }
            let setup = signed(xauth(15, v1, Xauth::User(ASHA), USERS), hybrid);
            let setup = with_address(setup, POOL).behind_nat();
            let mut memory = Memory::new(&setup);
            let mut pair = Pair::new(&setup, &mut memory);
            pair.bring_up();
            talk(&mut pair);
            pair.close_and_check(Side::B);
        }
    }
}

/// Without a user, hybrid authentication would let anybody in: there is no such thing. And nobody says his password to a
/// server that has another key.
#[test]
fn hybrid_needs_a_user_and_a_server() {
    let setup = signed(xauth(16, V1::MAIN, Xauth::None, Xauth::None), true);
    assert!([setup.a, setup.b].iter().all(|plan| !plan.peers[0].has_v1_method()));
    for v1 in [V1::MAIN, V1::AGGRESSIVE] {
        let guess = Xauth::User(User { password: b"a guess", ..ASHA });
        let setup = signed(xauth(17, v1, guess, USERS), true);
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.initiate(Side::A).unwrap();
        pair.run_for(10 * SECOND);
        assert_eq!(pair.a.failures(), [Failure::UserRefused], "{}", pair.log());
        assert_eq!(pair.b.count(|e| matches!(e, GatewayEvent::IkeUp { .. })), 0);

        let mut setup = signed(xauth(18, v1, Xauth::User(ASHA), USERS), true);
        let key = SigningKey { id: 3, schemes: &[SignatureScheme::RsaIkev1] };
        setup.b.peers[0].auth.local = LocalAuth::RawPublicKey { spki: leak(public_key(3)), key };
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.initiate(Side::A).unwrap();
        pair.run_for(10 * MINUTE);
        assert!(matches!(pair.a.failures()[..], [Failure::Untrusted { .. }]), "{}", pair.log());
        // No Transaction of A's: it has said no password.
        assert_eq!(sent(&pair, setup.a.address, 6), 0, "{}", pair.log());
    }
}

/// A key of the group and another identity: phase 1 refuses, before any user is asked.
#[test]
fn phase_1_comes_first() {
    let mut setup = xauth(13, V1::MAIN, Xauth::User(ASHA), USERS);
    setup.a.peers[0].local_id = Identity::Fqdn("mumbai.example");
    setup.a.peers[0].auth = Auth::psk(b"another key, which is not the group's");
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(10 * MINUTE);
    assert_eq!(sent(&pair, setup.b.address, 6), 0);
    assert!(pair.b.failures().iter().all(|f| *f == Failure::AuthenticationFailed));
    pair.a.assert_empty();
    pair.b.assert_empty();
}
