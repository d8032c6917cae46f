//! The seeds are those that the generator makes, and every target gets through its own.

use std::collections::BTreeMap;
use std::path::Path;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 13] = [
    ("ike_message", ipsec_fuzz::ike_message::run),
    ("ike_v1_message", ipsec_fuzz::ike_v1_message::run),
    ("ike_engine", ipsec_fuzz::ike_engine::run),
    ("ike_v1_engine", ipsec_fuzz::ike_v1_engine::run),
    ("certificates", ipsec_fuzz::certificates::run),
    ("esp_open", ipsec_fuzz::esp_open::run),
    ("esp_modes", ipsec_fuzz::esp_modes::run),
    ("bit_flip", ipsec_fuzz::bit_flip::run),
    ("export_import", ipsec_fuzz::export_import::run),
    ("fragments", ipsec_fuzz::fragments::run),
    ("ip_parsers", ipsec_fuzz::ip_parsers::run),
    ("signatures", ipsec_fuzz::signatures::run),
    ("spd", ipsec_fuzz::spd::run),
];

#[test]
fn the_seeds_are_those_that_are_made() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let mut kept = BTreeMap::new();
    for target in std::fs::read_dir(folder).unwrap() {
        let target = target.unwrap();
        for seed in std::fs::read_dir(target.path()).unwrap() {
            let seed = seed.unwrap();
            let name = |name: std::ffi::OsString| name.into_string().unwrap();
            kept.insert(
                (name(target.file_name()), name(seed.file_name())),
                std::fs::read(seed.path()).unwrap(),
            );
        }
    }
    let all = ipsec_fuzz::seeds::all();
    let made: BTreeMap<_, _> =
        all.iter().map(|s| ((s.target.to_owned(), s.name.clone()), s.bytes.clone())).collect();
    assert_eq!(all.len(), made.len(), "names are unique");
    assert!(made == kept, "run `cargo run --example seeds` and look at what changes");
}

#[test]
fn every_target_gets_through_its_seeds() {
    for (target, run) in TARGETS {
        let seeds = ipsec_fuzz::seeds::all();
        let mut count = 0;
        for seed in seeds.iter().filter(|seed| seed.target == target) {
            println!("{target} {}", seed.name);
            run(&seed.bytes);
            count += 1;
        }
        assert!(count >= 6, "{target} has {count} seeds");
    }
}

#[test]
fn what_was_found_stays_mended() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("findings");
    for (target, run) in TARGETS {
        let Ok(findings) = std::fs::read_dir(folder.join(target)) else { continue };
        for finding in findings {
            let path = finding.unwrap().path();
            println!("{target} {}", path.display());
            run(&std::fs::read(path).unwrap());
        }
    }
}
