//! The toy provider keeps the contract of a provider.

use ipsec_core::crypto::{Group, Provider, Suite};
use ipsec_testkit::conformance;
use ipsec_testkit::toy::{Toy, ToyCipher, ToyKx, ToyMac, ToyPrf};

#[test]
fn suites() {
    conformance::suites::<Toy>();
}

#[test]
fn macs() {
    conformance::macs::<Toy>();
}

#[test]
fn pseudo_random_functions() {
    conformance::prfs::<Toy>();
}

#[test]
fn groups() {
    conformance::groups::<Toy>();
}

#[test]
fn cbc() {
    conformance::cbc::<Toy>();
}

#[test]
fn hashes() {
    conformance::hashes::<Toy>();
}

#[test]
fn offers_what_other_providers_offer() {
    for suite in [
        Suite::AES_128_GCM,
        Suite::AES_256_GCM,
        Suite::CHACHA20_POLY1305,
        Suite::AES_128_CBC_SHA256,
        Suite::AES_256_CBC_SHA256,
    ] {
        assert!(Toy::has_suite(suite), "{suite}");
    }
    assert_eq!(
        Toy::GROUPS,
        [Group::X25519, Group::P256, Group::MODP_2048, Group::ML_KEM_768, Group::ML_KEM_512]
    );
}

/// Its state must not be what a measurement of the library's memory shows.
#[test]
fn state_is_small() {
    assert!(size_of::<ToyCipher>() <= 24);
    assert!(size_of::<ToyMac>() <= 24);
    assert!(size_of::<ToyPrf>() <= 24);
    assert!(size_of::<ToyKx>() <= 16);
}
