//! The provider built on RustCrypto keeps the contract of a provider, as the toy does in `toy_provider.rs`.
//!
//! That its algorithms are the published ones is shown by the vectors in its own crate.

use ipsec_core::crypto::{Group, PrfId, Provider, Suite};
use ipsec_rustcrypto::{Minimal, Only, RustCrypto};
use ipsec_testkit::conformance;
use ipsec_testkit::toy::Toy;

#[test]
fn suites() {
    conformance::suites::<RustCrypto>();
}

#[test]
fn macs() {
    conformance::macs::<RustCrypto>();
}

#[test]
fn pseudo_random_functions() {
    conformance::prfs::<RustCrypto>();
}

#[test]
fn groups() {
    conformance::groups::<RustCrypto>();
}

#[test]
fn cbc() {
    conformance::cbc::<RustCrypto>();
}

#[test]
fn hashes() {
    conformance::hashes::<RustCrypto>();
}

/// A selection of algorithms is a provider like any other.
#[test]
fn the_least_selection() {
    conformance::all::<Only<Minimal>>();
}

/// RFC 8221 section 5 and RFC 8247 section 2: what every implementation has or should have.
#[test]
fn offers_the_suites_of_the_rfcs() {
    for suite in [
        Suite::AES_128_GCM,
        Suite::AES_256_GCM,
        Suite::CHACHA20_POLY1305,
        Suite::AES_128_CBC_SHA256,
        Suite::AES_256_CBC_SHA256,
    ] {
        assert!(RustCrypto::has_suite(suite), "{suite}");
    }
    for prf in [PrfId::HMAC_SHA2_256, PrfId::HMAC_SHA2_512] {
        assert!(RustCrypto::PRFS.contains(&prf), "{prf}");
    }
    for group in [Group::MODP_2048, Group::P256, Group::X25519] {
        assert!(RustCrypto::GROUPS.contains(&group), "{group}");
    }
}

/// What is tested with the toy includes every algorithm of the real provider that changes the layout of a packet or keys.
#[test]
fn the_toy_stands_in_for_all_of_it() {
    for suite in RustCrypto::SUITES {
        assert!(Toy::has_suite(*suite), "{suite}");
    }
    for integ in RustCrypto::INTEGS {
        assert!(Toy::INTEGS.contains(integ), "{integ}");
    }
    for prf in RustCrypto::PRFS {
        assert!(Toy::PRFS.contains(prf), "{prf}");
    }
    // Of the groups it has only some: nothing but the length of a value depends on which one it is.
}
