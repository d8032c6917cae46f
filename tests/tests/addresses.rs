//! Addresses by configuration payload: a remote user that asks for one, and a gateway that gives them away.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use ipsec::{
    AddressRange, Ask, ChildRef, Failure, GatewayEvent, Given, Identity, Peer, Pool,
    TrafficSelector,
};
use ipsec_ike::wire::NotifyType;
use ipsec_testkit::pair::{Memory, Node, Pair, Sent};
use ipsec_testkit::setup::{HOST_A, HOST_B, LAN_B, Setup, Side, leak, leak_all, v4};

const SECOND: Duration = Duration::from_secs(1);
const DNS: &[IpAddr] = &[v4(10, 3, 0, 53), v4(10, 3, 0, 54)];
const ALL: Ask = Ask { ipv4: true, ipv6: true, dns: true };

const POOL: Pool<'static> = Pool {
    ipv4: Some((Ipv4Addr::new(10, 3, 0, 1), Ipv4Addr::new(10, 3, 0, 3))),
    ipv6: None,
    dns: DNS,
    domains: &["example.test", "internal.test"],
    networks: &[],
};

/// A asks, B gives.
fn remote_user(seed: u64, asks: Ask, pool: Pool<'static>) -> Setup {
    let any: &[TrafficSelector] = leak_all([TrafficSelector::ANY_V4, TrafficSelector::ANY_V6]);
    let mut setup = Setup::new(seed)
        .children_of(Side::A, |child| child.local = any)
        .children_of(Side::B, |child| child.remote = any);
    setup.a.peers[0].asks = asks;
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

fn host(address: impl Into<IpAddr>) -> TrafficSelector {
    TrafficSelector::addresses(AddressRange::host(address.into()))
}

/// What A may send from.
fn own(node: &Node<'_>) -> Vec<TrafficSelector> {
    let all: Vec<_> = node.gateway.sad().inbound_sas().collect();
    all.last().unwrap().selectors.local.to_vec()
}

fn talk(pair: &mut Pair<'_>, inner: IpAddr) {
    let before = (pair.a.received.len(), pair.b.received.len());
    assert_eq!(pair.send_between(Side::A, (inner, HOST_B), 1), Sent::Sealed, "{}", pair.log());
    assert_eq!(pair.send_between(Side::B, (HOST_B, inner), 2), Sent::Sealed, "{}", pair.log());
    pair.run_for(SECOND);
    let after = (pair.a.received.len(), pair.b.received.len());
    assert_eq!(after, (before.0 + 1, before.1 + 1), "{}", pair.log());
}

/// RFC 7296 section 2.19: the initiator asks with its IKE_AUTH, and its selectors become the address that it is given.
#[test]
fn a_remote_user_gets_an_address() {
    for behind_nat in [false, true] {
        let setup = remote_user(1, Ask { ipv6: false, ..ALL }, POOL);
        let setup = if behind_nat { setup.behind_nat() } else { setup };
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        let [Given { ipv4: Some(address), netmask: None, ipv6: None, dns, domains, .. }] =
            &given(&pair.a)[..]
        else {
            panic!("{}", pair.log())
        };
        assert!((1..=3).contains(&address.octets()[3]), "{address}");
        assert_eq!((&dns[..], &domains[..]), (DNS, "example.test internal.test"));
        let address = *address;
        assert_eq!(own(&pair.a), [host(address)]);
        talk(&mut pair, address.into());
        // Another address is not what was agreed, and what comes from it does not get out of the tunnel either.
        assert_eq!(pair.send(Side::A, 3), Sent::Discarded);
        // It stays through rekeys of both kinds, from both sides.
        for side in Side::BOTH {
            pair.rekey(side).unwrap();
            pair.run_for(20 * SECOND);
            pair.rekey_ike(side).unwrap();
            pair.run_for(20 * SECOND);
            assert_eq!(own(&pair.a), [host(address)], "{}", pair.log());
            talk(&mut pair, address.into());
        }
        assert_eq!(given(&pair.a).len(), 1);
        pair.close_and_check(Side::A);
    }
}

/// RFC 7296 section 3.15.1: an IPv6 address has a prefix length; who asks for both has both.
#[test]
fn addresses_of_both_families() {
    let first = Ipv6Addr::new(0xfd03, 0, 0, 0, 0, 0, 0, 0x10);
    let last = Ipv6Addr::new(0xfd03, 0, 0, 0, 0, 0, 0, 0x1f);
    let pool = Pool { ipv6: Some((first, last)), ..POOL };
    let setup = remote_user(2, ALL, pool);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let [Given { ipv4: Some(v4), ipv6: Some((v6, 128)), .. }] = &given(&pair.a)[..] else {
        panic!("{}", pair.log())
    };
    assert_eq!(own(&pair.a), [host(*v4), host(*v6)]);
    // Who asks for one of the two has that one.
    let setup = remote_user(2, Ask { ipv4: false, ..ALL }, pool);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    let [Given { ipv4: None, ipv6: Some((v6, 128)), .. }] = &given(&pair.a)[..] else {
        panic!("{}", pair.log())
    };
    assert!(own(&pair.a).contains(&host(*v6)), "{}", pair.log());
}

/// A lease is bound to an identity: who comes again has the same address, and nobody has it meanwhile.
#[test]
fn an_address_is_free_when_its_ike_sa_is_gone() {
    let setup = remote_user(3, Ask { ipv6: false, ..ALL }, POOL);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    let mut all = Vec::new();
    for _ in 0..5 {
        pair.bring_up();
        all.push(given(&pair.a).last().unwrap().ipv4.unwrap());
        pair.close_all(Side::B);
        pair.run_for(60 * SECOND);
    }
    assert!(all.iter().all(|a| *a == all[0]), "{all:?}");
    pair.a.assert_empty();
}

/// An IKE SA without an address makes no child by CREATE_CHILD_SA either, whoever asks for it.
fn no_child_without_address(pair: &mut Pair<'_>) {
    pair.initiate(Side::A).unwrap();
    pair.run_for(SECOND);
    assert_eq!(pair.a.failures()[1..], [Failure::SelectorsRefused], "{}", pair.log());
    let _ = pair.initiate(Side::B);
    pair.run_for(SECOND);
    assert_eq!(pair.b.failures().last(), Some(&Failure::NoAddress), "{}", pair.log());
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.statistics().ike_sas, 1, "{}", pair.log());
        assert_eq!(node.gateway.sad().inbound_sas().count(), 0, "{}", pair.log());
    }
}

/// The case of a domain name does not count: whoever writes its own otherwise is the same, with the same address.
#[test]
fn one_identity_has_one_address_however_it_is_written() {
    for (first, second) in [
        (Identity::Fqdn("user.example"), Identity::Fqdn("User.EXAMPLE")),
        (Identity::Email("user@example.org"), Identity::Email("user@Example.ORG")),
    ] {
        let mut setup = remote_user(8, Ask { ipv6: false, ..ALL }, POOL);
        (setup.b.peers[0].remote, setup.b.peers[0].remote_id) = (None, Identity::Any);
        setup.a.peers[0].local_id = first;
        let other = setup.a.peers[0];
        setup.a.peers.push(Peer { local_id: second, ..other });
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        for peer in [0, 1] {
            let tunnel = ChildRef { peer, child: 0 };
            pair.with(Side::A, |gateway, now, rng| gateway.initiate(now, rng, tunnel)).unwrap();
            pair.run_for(SECOND);
            pair.close_all(Side::A);
            pair.run_for(60 * SECOND);
        }
        let all: Vec<_> = given(&pair.a).iter().map(|given| given.ipv4.unwrap()).collect();
        assert_eq!(all.len(), 2, "{}", pair.log());
        assert_eq!(all[0], all[1], "{}", pair.log());
    }
}

/// RFC 7296 section 3.10.1: INTERNAL_ADDRESS_FAILURE and FAILED_CP_REQUIRED refuse the child, not the IKE SA.
#[test]
fn no_address_to_give_or_none_asked_for() {
    let mut setup = remote_user(4, Ask { ipv6: false, ..ALL }, POOL);
    setup.b.leases = 0;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(SECOND);
    let refused = Failure::Refused(NotifyType::INTERNAL_ADDRESS_FAILURE);
    assert_eq!(pair.a.failures(), [refused], "{}", pair.log());
    assert_eq!(pair.b.failures(), [Failure::NoAddress], "{}", pair.log());
    assert_eq!(pair.a.statistics().ike_sas, 1);
    no_child_without_address(&mut pair);

    let setup = remote_user(5, Ask::NOTHING, POOL);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(SECOND);
    let refused = Failure::Refused(NotifyType::FAILED_CP_REQUIRED);
    assert_eq!(pair.a.failures(), [refused], "{}", pair.log());
    assert_eq!(pair.b.failures(), [Failure::AddressNotAsked], "{}", pair.log());
    no_child_without_address(&mut pair);
    pair.close_and_check(Side::A);
}

/// A client that insists on selectors of its own gets none of the others' (RFC 7296 section 2.19).
#[test]
fn another_address_than_the_one_given_is_refused() {
    let own: &[TrafficSelector] = leak_all([host(HOST_A)]);
    let setup = remote_user(6, Ask { ipv6: false, ..ALL }, POOL)
        .children_of(Side::A, |child| child.local = own);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(SECOND);
    assert_eq!(pair.a.failures(), [Failure::SelectorsRefused], "{}", pair.log());
    let expected = Failure::NoSelectors { theirs: Some(host(HOST_A)), ours: Some(LAN_B) };
    assert_eq!(pair.b.failures(), [expected], "{}", pair.log());
    assert!(pair.b.gateway.tunnel(ChildRef { peer: 0, child: 0 }).unwrap().child.is_none());
}

/// Who is not asked gives nothing, and what is not asked for is ignored.
#[test]
fn a_gateway_without_a_pool_ignores_the_question() {
    let mut setup = Setup::new(7);
    setup.a.peers[0].asks = ALL;
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.bring_up();
    assert!(given(&pair.a).is_empty());
    pair.ping();
    pair.close_and_check(Side::A);
}
