//! Two sites joined by a tunnel, all of it in one process and in virtual time.
//!
//! ```text
//! Kolkata                                                                    Delhi
//! host ---- gateway ---- (NAT) ---- a network that loses, ---- gateway ---- host
//! 192.168.1.10      |               repeats and reorders       |      192.168.2.10
//!                   +--- IKEv2 and ESP, captured in wan.pcap --+
//! ```
//!
//! A host's first packet makes the gateways negotiate; then a file crosses the tunnel over TCP. Equal options and seeds
//! give equal runs.

mod keys;
mod lan;
mod plan;
mod proof;
mod report;
mod site;
mod traffic;
mod wan;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use ipsec::ipsec_core::crypto::{Integ, SuiteKeywordError};
use ipsec::ipsec_core::time::earliest;
use ipsec::{GatewayEvent, Instant, Mobike, Peer, Provider, Selectors, Suite, V1, Versions};
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::clock::Clock;
use ipsec_testkit::link::Chance;
use ipsec_testkit::rng::SeededRng;

use crate::keys::KeyFiles;
use crate::plan::{ManualKeys, Plan, Protection, TUNNEL};
use crate::proof::{Method, Proof};
use crate::report::Report;
use crate::site::{Role, Site};
use crate::traffic::{Source, Traffic};
use crate::wan::Wan;

/// Sends a file from Kolkata to Delhi through an IPsec tunnel, over a simulated network, and shows what happens.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// The file to send [default: a generated text of 4 MB]
    #[arg(long, value_name = "F")]
    file: Option<PathBuf>,
    /// Where to put wan.pcap, the received file, and Wireshark's key files
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// Decides everything random: keys, SPIs, and what the network does
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many packets in a hundred the network loses
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = percent)]
    loss: f64,
    /// Put a NAT before Kolkata's gateway
    #[arg(long)]
    nat: bool,
    /// Rekey the tunnel whenever it has carried so many bytes, and the IKE SA when a quarter of the file has arrived
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1000..))]
    rekey_after: Option<u64>,
    /// Give Kolkata's gateway another address when half of the file has arrived (MOBIKE); with --nat, one before the NAT
    #[arg(long, conflicts_with = "manual")]
    mobike: bool,
    /// IPv6 inside and outside
    #[arg(long)]
    ipv6: bool,
    /// How both gateways prove who they are: by a secret, or by certificates with keys of this kind
    #[arg(long, value_enum, default_value = "psk", conflicts_with = "manual")]
    auth: Method,
    /// Which IKE, and how IKEv1 begins (RFC 9395 retires it)
    #[arg(long, value_enum, default_value = "v2", conflicts_with_all = ["manual", "mobike"])]
    ike: Ike,
    /// Give both gateways their keys, and do without IKE
    #[arg(long, conflicts_with_all = ["nat", "rekey_after"])]
    manual: bool,
    /// Protect packets by ESP with this suite, see --list-suites [default: negotiated; manual: aes128gcm16]
    #[arg(long, value_name = "SUITE", value_parser = suite)]
    esp: Option<Suite>,
    /// Protect packets by AH with this algorithm, see --list-ah; with --manual or IKEv1, --esp inside
    #[arg(long, value_name = "ALGORITHM", value_parser = integ, conflicts_with = "nat")]
    ah: Option<Integ>,
    /// Protect networks behind the gateways, or the gateways' own traffic
    #[arg(long, value_enum, default_value = "tunnel")]
    mode: ModeName,
    /// ML-KEM-768 after X25519, for IKE and for the tunnel: safe from quantum computers
    #[arg(long, conflicts_with = "manual")]
    pq: bool,
    /// Extended sequence numbers
    #[arg(long)]
    esn: bool,
    /// List the suites of ESP, one a line
    #[arg(long, exclusive = true)]
    list_suites: bool,
    /// List the algorithms of AH, one a line
    #[arg(long, exclusive = true)]
    list_ah: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeName {
    Tunnel,
    Transport,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ike {
    V2,
    V1Main,
    V1Aggressive,
}

impl Options {
    fn versions(&self) -> Versions<'static> {
        match self.ike {
            Ike::V2 => Versions::V2,
            Ike::V1Main => Versions::V1(V1::MAIN),
            Ike::V1Aggressive => Versions::V1(V1::AGGRESSIVE),
        }
    }

    fn protection(&self) -> Result<Protection> {
        let Self { manual, esp, ah, pq, esn, .. } = *self;
        ensure!(
            manual || self.ike != Ike::V2 || esp.is_none() || ah.is_none(),
            "IKEv2 cannot negotiate AH and ESP for one packet: add --manual or --ike v1-main, or leave out one of them"
        );
        let transport = self.mode == ModeName::Transport;
        ensure!(
            !(transport && self.nat && self.ipv6),
            "transport mode through a NAT keeps no checksum of ICMPv6 right, only those of TCP and UDP (RFC 3948 section \
             3.1.2), and this program begins with a ping: leave out --nat or --ipv6"
        );
        ensure!(
            !(transport && self.mobike),
            "what is protected in transport mode are the addresses themselves, which do not move: leave out --mobike"
        );
        ensure!(
            !pq || self.ike == Ike::V2,
            "IKEv1 has no additional key exchanges: leave out --pq"
        );
        Ok(Protection { manual, esp, ah, transport, pq, esn })
    }
}

fn suite(words: &str) -> Result<Suite, String> {
    let suite: Suite = words.parse().map_err(|e: SuiteKeywordError| e.to_string())?;
    let found = RustCrypto::has_suite(suite).then_some(suite);
    found.ok_or_else(|| "not supported, see --list-suites".into())
}

fn integ(word: &str) -> Result<Integ, String> {
    let integ = Integ::from_keyword(word).filter(|integ| RustCrypto::INTEGS.contains(integ));
    integ.ok_or_else(|| "no algorithm of AH, see --list-ah".into())
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().map_err(|e| format!("{e}"))?;
    if (0.0..=100.0).contains(&percent) { Ok(percent) } else { Err("not from 0 to 100".into()) }
}

/// How long both sides may take to end their SAs.
const TIME_TO_CLOSE: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list_suites {
        RustCrypto::SUITES.iter().for_each(|suite| println!("{}", suite.keyword()));
        return ExitCode::SUCCESS;
    }
    if options.list_ah {
        let words = RustCrypto::INTEGS.iter().filter_map(|integ| integ.keyword());
        words.for_each(|word| println!("{word}"));
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("site-to-site: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let protection = options.protection()?;
    let mut rng = SeededRng::new(options.seed);
    let source = match &options.file {
        Some(file) => Source::open(file)?,
        None => Source::generate(rng.fork()),
    };
    let out = &options.out;
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut keys = KeyFiles::create(&out.join("wireshark"))?;

    // Who is where, and what the gateways are told. Everything here outlives them.
    let plan = Plan::new(
        options.ipv6,
        options.nat,
        options.rekey_after,
        protection,
        Proof::both(options.auth)?,
    );
    let (k, d) = (&plan.kolkata, &plan.delhi);
    let children = [[plan.child(k, d)], [plan.child(d, k)]];
    let mut peers = [[Plan::peer(k, d, &children[0])], [Plan::peer(d, k, &children[1])]];
    for peer in peers.iter_mut().flatten() {
        peer.versions = options.versions();
        peer.proposals = protection.ike_proposals();
    }
    if options.mobike {
        peers.iter_mut().flatten().for_each(|peer| peer.mobike = Some(&Mobike::ANYWHERE));
        keys.anywhere = true;
    }
    let selectors = [[Plan::selectors(k, d)], [Plan::selectors(d, k)]];
    let (peers, selectors): ([&[Peer<'_>]; 2], [&[Selectors]; 2]) = match protection.manual {
        true => ([&[]; 2], [&selectors[0], &selectors[1]]),
        false => ([&peers[0], &peers[1]], [&[]; 2]),
    };
    let mut pools = [site::pools(), site::pools()];
    let [pools_k, pools_d] = &mut pools;

    let mut clock = Clock::new();
    let mut now = clock.now();
    let (role_k, role_d) = (Role::Begins, Role::AnswersAndLogs);
    let mut kolkata =
        Site::new(now, k, peers[0], selectors[0], pools_k.lend(), role_k, rng.fork())?;
    let mut delhi = Site::new(now, d, peers[1], selectors[1], pools_d.lend(), role_d, rng.fork())?;
    let weather = wan::weather(Chance::per_million((options.loss * 10_000.0) as u32));
    let capture = out.join("wan.pcap");
    let mut wan = Wan::new([k.address, d.address], weather, plan.nat.clone(), rng.next(), &capture)
        .with_context(|| format!("cannot write {}", capture.display()))?;
    let mut report = Report::new(now, d.address);
    if protection.manual {
        let manual = ManualKeys::new(protection, &mut rng);
        kolkata.install(now, &manual.of(k, d, true))?;
        delhi.install(now, &manual.of(d, k, false))?;
        keys.manual(&manual.of(d, k, false))?;
        report.line(now, "both", &format!("keys installed: {}", protection.describe()));
    }
    if !protection.encrypts() {
        report.line(now, "both", "NOT ENCRYPTED: everybody on the way can read the file");
    }
    let (hosts, sink) = ((&mut kolkata.host, &mut delhi.host), out.join("received"));
    let mut traffic = Traffic::new(now, source, &sink, hosts.0, hosts.1, &mut report)?;
    let mut ike_rekeyed = false;
    let mut moved = !options.mobike;
    let mut closing: Option<Instant> = None;

    loop {
        // Whatever has left its sender's line is captured, and arrives or does not.
        for captured in wan.advance(now).context("cannot write the capture")? {
            report.captured(&captured);
        }

        // 3. A datagram of the unprotected side.
        while let Some(datagram) = wan.deliver(now) {
            let to = datagram.destination.address;
            let mut sites = [&mut kolkata, &mut delhi].into_iter();
            // What is sent to where Kolkata was is lost.
            let Some(site) = sites.find(|site| site.address == to) else { continue };
            site.unprotected(now, datagram);
            settle_and_transmit(now, site, &mut wan, &mut keys, &mut report)?;
        }

        for site in [&mut kolkata, &mut delhi] {
            // 4. The time has come.
            if site.timeout(now) {
                settle_and_transmit(now, site, &mut wan, &mut keys, &mut report)?;
            }
            if closing.is_some() {
                continue; // The hosts have been switched off.
            }
            // 2. A packet of the protected side.
            site.host.poll(now);
            while site.protected(now, &mut wan, &mut report)? {
                settle_and_transmit(now, site, &mut wan, &mut keys, &mut report)?;
            }
        }

        if closing.is_none() {
            traffic.poll(now, &mut kolkata.host, &mut delhi.host, &mut report)?;
            let quarter = traffic.arrived() > traffic.len() / 4;
            if options.rekey_after.is_some() && quarter && !ike_rekeyed {
                report.line(
                    now,
                    k.name,
                    "a quarter of the file has arrived: the IKE SA is rekeyed",
                );
                kolkata.rekey_ike(now)?;
                ike_rekeyed = true;
                settle_and_transmit(now, &mut kolkata, &mut wan, &mut keys, &mut report)?;
            }
            if !moved && traffic.arrived() > traffic.len() / 2 {
                let to = plan.elsewhere;
                report.line(
                    now,
                    k.name,
                    &format!("half of the file has arrived: the gateway has another address, {to}"),
                );
                wan.rename(kolkata.address, to);
                kolkata.move_to(now, to);
                moved = true;
                settle_and_transmit(now, &mut kolkata, &mut wan, &mut keys, &mut report)?;
            }
            if traffic.is_done() {
                report.line(now, k.name, "all is done: the SAs are closed");
                kolkata.close(now);
                if protection.manual {
                    delhi.close(now);
                }
                closing = Some(now);
                settle_and_transmit(now, &mut kolkata, &mut wan, &mut keys, &mut report)?;
            }
        }
        if closing.is_some() && kolkata.gateway.is_idle() && delhi.gateway.is_idle() {
            break;
        }

        // 1. Wait for a packet, a datagram, or the time of the earliest deadline. Here, time jumps there.
        let mut next = wan.next_event();
        for site in [&mut kolkata, &mut delhi] {
            next = earliest(next, site.gateway.next_timeout());
            if closing.is_none() {
                next = earliest(next, site.host.next_timeout(now));
            }
        }
        if closing.is_none() {
            next = earliest(next, traffic.next_timeout());
        }
        let next = next.context("nothing is left to happen")?;
        now = clock.advance_to(next);
        if closing.is_some_and(|since| now.since(since) > TIME_TO_CLOSE) {
            bail!("the SAs are not closed after {} s", TIME_TO_CLOSE.as_secs());
        }
        // 7. Back to 1.
    }

    wan.finish().with_context(|| format!("cannot write {}", capture.display()))?;
    let told = format!("{protection}nat {}\nwireshark {}\n", options.nat, keys.without.is_none());
    fs::write(out.join("protection"), told)
        .with_context(|| format!("cannot write to {}", out.display()))?;
    let digests = traffic.verdict()?;
    let sites = [&kolkata, &delhi];
    report.summary(sites, &traffic.achieved, traffic.arrived(), &digests);
    for site in sites {
        let left = site.gateway.statistics();
        let sas = [left.inbound_sas, left.outbound_sas, left.children];
        ensure!(sas == [0; 3], "{}: not all was released: {left:?}", site.side.name);
    }
    println!("\nThe file arrived whole. To read the capture:");
    if let Some(suite) = keys.without {
        println!("(Wireshark 4.0 cannot decrypt {}: it shows headers only.)", suite.keyword());
    }
    println!(
        "WIRESHARK_CONFIG_DIR={0}/wireshark tshark -o esp.enable_encryption_decode:TRUE \
         -o esp.enable_authentication_check:TRUE -r {0}/wan.pcap",
        out.display()
    );
    Ok(())
}

/// What follows every input of a gateway.
fn settle_and_transmit(
    now: Instant,
    site: &mut Site<'_>,
    wan: &mut Wan,
    keys: &mut KeyFiles,
    report: &mut Report,
) -> Result<()> {
    // 5. What happened, until nothing is left.
    for event in site.settle(now) {
        keys.log(&event)?;
        report.event(now, site, &event);
        match event {
            GatewayEvent::ChildUp { .. } => {
                // The host is told what fits into the tunnel.
                let overhead =
                    site.gateway.overhead(TUNNEL).context("the tunnel has no overhead")?;
                site.host.set_mtu(now, overhead.effective_mtu(wan::MTU));
            }
            // Delhi only answers; what fails there, fails in Kolkata or is tried again.
            GatewayEvent::Failed { failure, .. }
                if site.role == Role::Begins && site.gateway.child(TUNNEL).is_none() =>
            {
                bail!("{}: the tunnel does not come up: {failure}", site.side.name);
            }
            _ => {}
        }
    }
    // 6. What IKE has to send.
    site.transmit(now, wan)
}
