//! Peers that stand in a store of the caller's, not in the configuration: the responder asks, and waits for the answer
//! (RFC 4301 section 4.4.3).

use core::time::Duration;

use ipsec::{
    Auth, CommandError, Failure, GatewayEvent, Identity, IkeProposal, Job, LocalAuth, Peer, Ppk,
    RemoteAuth, SIGNATURE_SCHEMES, SigningKey, Suite,
};
use ipsec_ike::identity::ClaimedId;
use ipsec_testkit::pair::{Jobs, Memory, Pair};
use ipsec_testkit::setup::{LAN_A, Setup, Side, leak, leak_all, network};
use ipsec_testkit::toy_keys::public_key;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

const KEY: SigningKey<'static> = SigningKey { id: 1, schemes: SIGNATURE_SCHEMES };

/// A says that it is `name`, and knows `secret`. B has its store, and behind that an entry for keys, which the store
/// leads to.
fn setup(seed: u64, name: &'static str, secret: &'static [u8]) -> Setup {
    let mut setup = Setup::new(seed);
    setup.a.peers[0].local_id = Identity::Fqdn(name);
    setup.a.peers[0].auth = Auth::psk(secret);
    let first = &mut setup.b.peers[0];
    first.remote = None;
    first.remote_id = Identity::Any;
    first.auth = Auth { local: LocalAuth::Store, remote: RemoteAuth::Store };
    let spki = leak(public_key(1));
    let remote = RemoteAuth::RawPublicKey { spki, schemes: SIGNATURE_SCHEMES };
    let behind = Peer {
        remote_id: Identity::Fqdn("key-mumbai.store.example"),
        auth: Auth { local: LocalAuth::Psk(b"of both"), remote },
        ..*first
    };
    setup.b.peers.push(behind);
    setup
}

fn comes_up(setup: &Setup, entry: u16) {
    let mut memory = Memory::new(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(SECOND);
    let peer = pair.b.events.iter().find_map(|(_, event)| match event {
        GatewayEvent::IkeUp { peer, .. } => Some(*peer),
        _ => None,
    });
    assert_eq!(peer, Some(entry), "{}", pair.log());
    assert!(pair.a.is_up());
    for side in Side::BOTH {
        pair.rekey_ike(side).unwrap();
        pair.run_for(SECOND);
    }
    assert_eq!(pair.a.ike_rekeys(), 2);
    pair.close_and_check(Side::A);
}

fn fails(setup: &Setup) -> Vec<Failure> {
    let mut memory = Memory::new(setup);
    let mut pair = Pair::new(setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(20 * MINUTE);
    assert_eq!(pair.a.failures(), [Failure::AuthenticationRefused], "{}", pair.log());
    assert!(pair.b.child_downs().is_empty() && !pair.b.is_up());
    pair.a.assert_empty();
    pair.b.assert_empty();
    pair.b.failures()
}

fn claimed(name: &str) -> ClaimedId {
    ClaimedId::of(&Identity::Fqdn(name).payload(&mut [0; 16]))
}

#[test]
fn a_secret_of_the_store() {
    for seed in 0..3 {
        comes_up(&setup(seed, "kolkata.store.example", b"secret of kolkata"), 0);
        comes_up(&setup(seed, "pune.store.example", b"secret of pune").behind_nat(), 0);
    }
}

#[test]
fn an_entry_that_the_store_leads_to() {
    let mut setup = setup(4, "key-mumbai.store.example", b"");
    let local = LocalAuth::RawPublicKey { spki: leak(public_key(1)), key: KEY };
    setup.a.peers[0].auth = Auth { local, remote: RemoteAuth::Psk(b"of both") };
    comes_up(&setup, 1);
    // By the store's entry, not by its own: with another key it is nobody.
    let local =
        LocalAuth::RawPublicKey { spki: leak(public_key(2)), key: SigningKey { id: 2, ..KEY } };
    setup.a.peers[0].auth.local = local;
    assert!(matches!(fails(&setup)[..], [Failure::Untrusted { .. }]));
    // A secret where the entry wants a key.
    setup.a.peers[0].auth = Auth::psk(b"secret of key-mumbai");
    assert!(matches!(fails(&setup)[..], [Failure::MethodRefused { .. }]));
}

#[test]
fn what_the_store_does_not_know_or_knows_otherwise() {
    let unknown = setup(5, "mallory.example", b"secret of mallory");
    assert_eq!(fails(&unknown), [Failure::UnknownIdentity { claimed: claimed("mallory.example") }]);
    let wrong = setup(6, "kolkata.store.example", b"secret of pune");
    assert_eq!(fails(&wrong), [Failure::AuthenticationFailed]);
    // The entry that the store leads to is for somebody else.
    let other = setup(7, "key-delhi.store.example", b"secret of key-delhi");
    let expected = Failure::UnknownIdentity { claimed: claimed("key-delhi.store.example") };
    assert_eq!(fails(&other), [expected]);
}

/// The algorithms were chosen by address, and are checked again against the entry that counts.
#[test]
fn suites_and_selectors_of_the_entry_count() {
    let mut setup = setup(8, "key-mumbai.store.example", b"");
    let local = LocalAuth::RawPublicKey { spki: leak(public_key(1)), key: KEY };
    setup.a.peers[0].auth = Auth { local, remote: RemoteAuth::Psk(b"of both") };
    setup.b.peers[1].proposals =
        leak_all([IkeProposal { suites: &[Suite::CHACHA20_POLY1305], ..IkeProposal::DEFAULT[0] }]);
    assert!(matches!(fails(&setup)[..], [Failure::SuiteNotAllowed { .. }]));
    setup.b.peers[1].proposals = IkeProposal::DEFAULT;
    let lan = [ipsec::Child::new("other", leak_all([network(10, 1, 1)]), leak_all([LAN_A]))];
    setup.b.peers[1].children = leak_all(lan);
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    pair.initiate(Side::A).unwrap();
    pair.run_for(SECOND);
    assert_eq!(pair.a.failures(), [Failure::SelectorsRefused], "{}", pair.log());
    assert!(matches!(pair.b.failures()[..], [Failure::NoSelectors { .. }]));
}

/// RFC 8784 section 3: an entry that wants a further secret is for nobody who has only the others.
#[test]
fn an_entry_that_insists_on_a_ppk() {
    for required in [false, true] {
        let mut setup = setup(11, "key-mumbai.store.example", b"");
        let local = LocalAuth::RawPublicKey { spki: leak(public_key(1)), key: KEY };
        setup.a.peers[0].auth = Auth { local, remote: RemoteAuth::Psk(b"of both") };
        let key = b"thirty-two bytes beyond a doubt!";
        setup.b.peers[1].ppk = Some(Ppk { id: b"blue", key, required });
        if required {
            assert_eq!(fails(&setup), [Failure::PpkNotShared]);
        } else {
            comes_up(&setup, 1);
        }
    }
}

/// The store takes its time, or never answers; nothing is established meanwhile, and nothing is left in the end.
#[test]
fn a_slow_store_and_one_that_never_answers() {
    for (millis, comes) in [(700, true), (5_000, true), (600_000, false)] {
        let setup = setup(9, "kolkata.store.example", b"secret of kolkata");
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.b.jobs = Jobs::Held;
        pair.initiate(Side::A).unwrap();
        pair.run_for(SECOND);
        let now = pair.now();
        let id = pair.b.held.remove(0);
        pair.b.run(now, id);
        pair.flush(Side::B);
        pair.run_for(SECOND);
        let id = pair.b.held.remove(0);
        assert!(matches!(pair.b.gateway.job(id), Some(Job::LookUp(job)) if job.peer == 0));
        pair.run_for(Duration::from_millis(millis));
        assert!(pair.b.events.iter().all(|(_, e)| !matches!(e, GatewayEvent::IkeUp { .. })));
        pair.b.jobs = Jobs::AtOnce;
        let now = pair.now();
        pair.b.run(now, id);
        pair.flush(Side::B);
        pair.run_for(SECOND);
        assert_eq!(pair.is_up(), comes, "{millis}\n{}", pair.log());
        pair.close_all(Side::A);
        pair.run_for(20 * MINUTE);
        pair.a.assert_empty();
        pair.b.assert_empty();
    }
}

/// Such an entry is for responders.
#[test]
fn nobody_begins_with_the_store() {
    let setup = setup(10, "kolkata.store.example", b"secret of kolkata");
    let mut memory = Memory::new(&setup);
    let mut pair = Pair::new(&setup, &mut memory);
    assert_eq!(pair.initiate(Side::B), Err(CommandError::NoAddress));
}
