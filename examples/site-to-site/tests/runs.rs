//! Runs of the program, each with a small file, and what it leaves behind.
//!
//! `scripts/check-capture` needs tshark. Without it these tests say so; with `IPSEC_REQUIRE_TOOLS` in the environment
//! they fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ipsec_testkit::rng::SeededRng;
use sha2::{Digest, Sha256};

const CHECK_CAPTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/check-capture");

/// A folder of its own for each test, empty.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A file of random bytes.
fn file(folder: &Path, len: usize) -> PathBuf {
    let mut bytes = vec![0; len];
    SeededRng::new(len as u64).fill(&mut bytes);
    let path = folder.join("sent");
    fs::write(&path, bytes).unwrap();
    path
}

fn program(out: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_site-to-site"));
    command.arg("--out").arg(out).args(options).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The text behind the name of a line of the summary.
fn summary(text: &str, name: &str) -> String {
    let summary = text.split_once("\nSummary").expect("no summary").1;
    let line = summary.lines().find(|line| line.trim_start().starts_with(name));
    line.unwrap_or_else(|| panic!("no {name} in {summary}")).trim()[name.len()..].trim().to_owned()
}

/// Sends a file, and checks that it arrives whole and that the capture can be read. Gives what was printed.
fn send(test: &str, len: usize, options: &[&str]) -> String {
    let folder = folder(test);
    let file = file(&folder, len);
    let out = folder.join("out");
    let options = [&["--file", file.to_str().unwrap()], options].concat();
    let output = program(&out, &options);
    let text = stdout(&output);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{complaints}");

    let sent = fs::read(&file).unwrap();
    assert!(sent == fs::read(out.join("received")).unwrap(), "another file was received");
    let digest: String = Sha256::digest(&sent).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(text.contains(&format!("sent     {digest}")), "{text}");
    assert!(text.contains(&format!("received {digest}")), "{text}");
    assert!(text.contains("ping") && text.contains("answered after"), "{text}");
    check_capture(test, &out, &file);
    text
}

/// `None` if tshark is missing.
fn run_check(test: &str, out: &Path, file: &Path) -> Option<Output> {
    if Command::new("tshark").arg("--version").output().is_err() {
        assert!(std::env::var_os("IPSEC_REQUIRE_TOOLS").is_none(), "tshark is missing");
        eprintln!("{test}: the check of the capture is SKIPPED: tshark is not installed");
        return None;
    }
    Some(Command::new(CHECK_CAPTURE).arg(out).arg(file).output().unwrap())
}

fn check_capture(test: &str, out: &Path, file: &Path) {
    let Some(output) = run_check(test, out, file) else { return };
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{complaints}", stdout(&output));
    assert!(stdout(&output).ends_with("all good\n"));
}

#[test]
fn a_file_crosses_the_tunnel() {
    let text = send("plain", 200_000, &[]);
    assert!(summary(&text, "IKE").ends_with("no NAT between"), "{text}");
    assert!(summary(&text, "ESP").contains("as IP protocol 50"), "{text}");
    assert!(summary(&text, "MTU").starts_with("1446 of 1500, TCP MSS 1406"), "{text}");
    // The hosts fill the tunnel, and nothing is fragmented or dropped for its size.
    assert!(summary(&text, "MTU").ends_with("outer packet had 1500"), "{text}");
    assert!(summary(&text, "network").ends_with(" 0 could not pass"), "{text}");
    assert!(text.contains("192.168.1.0/24 here, 192.168.2.0/24 there"), "{text}");
}

/// By IKEv1 in both modes, of which tshark decrypts every message.
#[test]
fn by_ikev1() {
    for mode in ["v1-main", "v1-aggressive"] {
        let text = send(mode, 50_000, &["--ike", mode, "--loss", "0"]);
        assert!(summary(&text, "IKE").contains("no NAT between"), "{text}");
        let text = send(&format!("{mode}-nat"), 50_000, &["--ike", mode, "--loss", "0", "--nat"]);
        assert!(summary(&text, "ESP").contains("in UDP"), "{text}");
    }
    // AH around ESP, as a bundle.
    let both = ["--ike", "v1-main", "--loss", "0", "--esp", "aes128-sha256", "--ah", "sha256"];
    let text = send("bundle", 50_000, &both);
    assert!(summary(&text, "ESP").contains("in AH HMAC-SHA2-256-128"), "{text}");
    let text =
        send("bundle-ipv6", 50_000, &[&both[..], &["--mode", "transport", "--ipv6"]].concat());
    assert!(summary(&text, "ESP").contains("as IP protocol 51"), "{text}");
}

#[test]
fn through_a_nat() {
    let text = send("nat", 200_000, &["--nat"]);
    assert!(summary(&text, "IKE").ends_with("a NAT before us"), "{text}");
    assert!(summary(&text, "ESP").contains("in UDP"), "{text}");
    assert!(summary(&text, "MTU").starts_with("1438 of 1500, TCP MSS 1398"), "{text}");
}

#[test]
fn over_ipv6() {
    let text = send("ipv6", 200_000, &["--ipv6"]);
    assert!(text.contains("2001:db8:1::/64 here, 2001:db8:2::/64 there"), "{text}");
    assert!(summary(&text, "MTU").starts_with("1426 of 1500, TCP MSS 1366"), "{text}");
    send("ipv6-nat", 50_000, &["--ipv6", "--nat"]);
}

#[test]
fn rekeyed_on_the_way() {
    let text = send("rekey", 1_000_000, &["--rekey-after", "300000", "--loss", "0"]);
    let rekeys = summary(&text, "rekeys");
    let tunnel: u32 = rekeys.split(' ').next().unwrap().parse().unwrap();
    assert!(tunnel >= 2 && rekeys.ends_with(" 1 of the IKE SA"), "{rekeys}");
    // Two SAs of the first child, and two of each that replaced another.
    let keys = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rekey/out/wireshark/esp_sa");
    assert_eq!(fs::read_to_string(keys).unwrap().lines().count(), 2 + 2 * tunnel as usize);
    // What is dropped is what the network repeated, what it brought late (for an old SA: after its deletion), and the
    // first packet.
    let dropped = text.lines().filter(|line| line.trim_start().starts_with("dropped"));
    for reason in dropped.flat_map(|line| line.split_once(": ").unwrap().1.split(", ")) {
        let (count, reason) = reason.split_once(' ').unwrap_or(("0", reason));
        let most = match reason {
            "in: repeated or too old" => 50,
            "in: unknown SPI" => 3,
            "out: tunnel not up yet" => 1,
            _ => 0,
        };
        assert!(count.parse::<u32>().unwrap() <= most, "{count} {reason}");
    }
}

/// RFC 4555: the address of one gateway changes on the way.
#[test]
fn moved_on_the_way() {
    let text = send("mobike", 400_000, &["--mobike"]);
    let moved = "packets go another way: 198.51.100.1:0 -> 203.0.113.99:0";
    assert!(text.contains(moved), "{text}");
    assert!(summary(&text, "rekeys").starts_with("0 "), "{text}");
    // From behind the NAT, where ESP was in UDP, to where it is not, and with new keys before and after.
    let options = ["--mobike", "--nat", "--rekey-after", "100000", "--loss", "3"];
    let text = send("mobike-nat", 400_000, &options);
    assert!(text.contains(moved) && text.contains("tunnel rekeyed"), "{text}");
    send("mobike-ipv6", 100_000, &["--mobike", "--ipv6"]);
}

#[test]
fn over_a_bad_network() {
    send("loss", 200_000, &["--loss", "5"]);
    send("loss-all", 100_000, &["--loss", "5", "--nat", "--rekey-after", "50000", "--seed", "7"]);
}

#[test]
fn with_manual_keys() {
    let text = send("manual", 100_000, &["--manual"]);
    assert!(text.contains("keys installed: ESP aes128gcm16, tunnel mode"), "{text}");
    assert!(!text.contains("IKE_SA_INIT"), "{text}");
    let transport = ["--manual", "--mode", "transport", "--esp", "aes256-sha512"];
    send("manual-transport", 100_000, &transport);
    send("manual-esn", 100_000, &["--manual", "--esn", "--ipv6", "--esp", "aes256ctr-sha1"]);
    // AH alone, and around ESP.
    let text = send("manual-ah", 100_000, &["--manual", "--ah", "sha256"]);
    assert!(text.contains("NOT ENCRYPTED"), "{text}");
    let both = ["--manual", "--ah", "sha1", "--esp", "aes128gcm8", "--mode", "transport", "--ipv6"];
    let text = send("manual-both", 100_000, &both);
    assert!(text.contains("keys installed: ESP aes128gcm8 in AH sha1, transport mode"), "{text}");
    assert!(!text.contains("NOT ENCRYPTED"), "{text}");
}

#[test]
fn negotiated_as_asked() {
    let text = send("esp", 50_000, &["--esp", "aes192-sha384", "--esn", "--mode", "transport"]);
    let agreed = summary(&text, "ESP");
    assert!(agreed.starts_with("AES-CBC-192/HMAC-SHA2-384-192, ESN, transport mode"), "{agreed}");
    let text = send("ah", 50_000, &["--ah", "sha256", "--ipv6"]);
    assert!(summary(&text, "ESP").contains("as IP protocol 51"), "{text}");
    send("transport-nat", 50_000, &["--mode", "transport", "--nat"]);
    let text = send("pq", 200_000, &["--pq", "--rekey-after", "50000"]);
    assert!(summary(&text, "IKE").contains("X25519+ML-KEM-768"), "{text}");
    let text = send("null", 50_000, &["--esp", "null-sha256"]);
    assert!(text.contains("NOT ENCRYPTED"), "{text}");
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = folder("refused");
    let cases: [(&[&str], &str); 9] = [
        (&["--mobike", "--manual"], "cannot be used with"),
        (&["--mobike", "--mode", "transport"], "do not move"),
        (&["--esp", "aes128"], "without integrity"),
        (&["--esp", "aes129-sha1"], "no encryption algorithm"),
        (&["--ah", "sha3"], "no algorithm of AH"),
        (&["--ah", "sha1", "--esp", "aes128gcm16"], "IKEv2 cannot negotiate AH and ESP"),
        (&["--manual", "--nat"], "cannot be used with"),
        (&["--manual", "--rekey-after", "5000"], "cannot be used with"),
        (&["--mode", "transport", "--nat", "--ipv6"], "ICMPv6"),
    ];
    for (options, why) in cases {
        let output = program(&folder, options);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && complaint.contains(why), "{options:?}: {complaint}");
    }
}

#[test]
fn every_listed_suite_is_taken() {
    let folder = folder("suites");
    let list = stdout(
        &Command::new(env!("CARGO_BIN_EXE_site-to-site")).arg("--list-suites").output().unwrap(),
    );
    let suites: Vec<&str> = list.lines().collect();
    assert!(suites.len() > 80 && suites.contains(&"null-sha256") && suites.contains(&"des-md5"));
    let file = file(&folder, 3000);
    for suite in suites {
        let file = file.to_str().unwrap();
        let options = ["--manual", "--loss", "0", "--file", file, "--esp", suite];
        let output = program(&folder.join("out"), &options);
        assert!(output.status.success(), "{suite}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn small_and_empty_files() {
    for (test, len) in [("empty", 0), ("one", 1)] {
        let folder = folder(test);
        let (file, out) = (file(&folder, len), folder.join("out"));
        let output = program(&out, &["--file", file.to_str().unwrap()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(fs::read(out.join("received")).unwrap(), fs::read(&file).unwrap());
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    let folder = folder("seeds");
    let file = file(&folder, 50_000);
    let capture = |seed: &str, name: &str| {
        let out = folder.join(name);
        let output = program(&out, &["--file", file.to_str().unwrap(), "--seed", seed]);
        assert!(output.status.success());
        fs::read(out.join("wan.pcap")).unwrap()
    };
    let first = capture("3", "a");
    assert!(first == capture("3", "b"), "the runs differ");
    assert!(first != capture("4", "c"), "the seed changes nothing");
}

#[test]
fn failures_are_told() {
    let folder = folder("failures");
    let dead = program(&folder.join("dead"), &["--loss", "100"]);
    let complaint = String::from_utf8_lossy(&dead.stderr);
    assert_eq!(dead.status.code(), Some(1));
    assert!(
        complaint.contains("the tunnel does not come up: no answer to IKE_SA_INIT"),
        "{complaint}"
    );

    let missing = program(&folder.join("missing"), &["--file", "/nonexistent/file"]);
    let complaint = String::from_utf8_lossy(&missing.stderr);
    assert_eq!(missing.status.code(), Some(1));
    assert!(complaint.contains("cannot read /nonexistent/file: "), "{complaint}");
}

#[test]
fn the_check_of_a_capture_can_fail() {
    let test = "check";
    let folder = folder(test);
    let file = file(&folder, 20_000);
    let out = folder.join("out");
    assert!(program(&out, &["--file", file.to_str().unwrap()]).status.success());
    let capture = fs::read(out.join("wan.pcap")).unwrap();
    let keys = fs::read_to_string(out.join("wireshark/ikev2_decryption_table")).unwrap();
    let refused = |expected: &str| {
        let Some(output) = run_check(test, &out, &file) else { return };
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "a problem was not found: {expected}");
        assert!(complaints.contains(expected), "{complaints}");
    };
    check_capture(test, &out, &file);

    // The last byte is part of the integrity checksum of an IKE message.
    let mut damaged = capture.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(out.join("wan.pcap"), damaged).unwrap();
    refused("[incorrect");

    // Bytes of the file in clear, in a packet that is neither IKE nor ESP.
    let sent = fs::read(&file).unwrap();
    let mut leaked = capture.clone();
    let mut packet =
        Vec::from([0x45, 0, 0, 120, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    packet.extend(&sent[..100]);
    leaked.extend([[0; 4], [0; 4], [0, 0, 0, 120], [0, 0, 0, 120]].concat());
    leaked.extend(packet);
    fs::write(out.join("wan.pcap"), leaked).unwrap();
    refused("bytes 0 to 32 of the file are in the capture in clear");
    refused("neither IKE nor ESP nor AH");

    // Without its keys, nothing can be read.
    fs::write(out.join("wan.pcap"), &capture).unwrap();
    fs::write(out.join("wireshark/ikev2_decryption_table"), "").unwrap();
    refused("an IKE message that is not decrypted");
    fs::write(out.join("wireshark/ikev2_decryption_table"), keys).unwrap();
    fs::write(out.join("wireshark/esp_sa"), "").unwrap();
    refused("no good integrity check value");

    // Another file than the one that was sent.
    fs::write(&file, [7; 20_000]).unwrap();
    refused("differ");
}

/// By certificates of every kind, of which tshark decrypts the exchange.
#[test]
fn certificates() {
    for auth in ["ecdsa", "rsa", "ed25519"] {
        send(&format!("auth-{auth}"), 50_000, &["--auth", auth, "--loss", "0"]);
    }
}
