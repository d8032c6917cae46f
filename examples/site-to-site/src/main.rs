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
mod report;
mod site;
mod traffic;
mod wan;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use ipsec::ipsec_core::time::earliest;
use ipsec::{GatewayEvent, Instant};
use ipsec_testkit::clock::Clock;
use ipsec_testkit::link::Chance;
use ipsec_testkit::rng::SeededRng;

use crate::keys::KeyFiles;
use crate::plan::{Plan, TUNNEL};
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
    /// IPv6 inside and outside
    #[arg(long)]
    ipv6: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().map_err(|e| format!("{e}"))?;
    if (0.0..=100.0).contains(&percent) { Ok(percent) } else { Err("not from 0 to 100".into()) }
}

/// How long both sides may take to end their SAs.
const TIME_TO_CLOSE: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("site-to-site: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let mut rng = SeededRng::new(options.seed);
    let source = match &options.file {
        Some(file) => Source::open(file)?,
        None => Source::generate(rng.fork()),
    };
    let out = &options.out;
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut keys = KeyFiles::create(&out.join("wireshark"))?;

    // Who is where, and what the gateways are told. Everything here outlives them.
    let plan = Plan::new(options.ipv6, options.nat, options.rekey_after);
    let (k, d) = (&plan.kolkata, &plan.delhi);
    let children = [[plan.child(k, d)], [plan.child(d, k)]];
    let peers = [[Plan::peer(k, d, &children[0])], [Plan::peer(d, k, &children[1])]];
    let mut pools = [site::pools(), site::pools()];
    let [pools_k, pools_d] = &mut pools;

    let mut clock = Clock::new();
    let mut now = clock.now();
    let mut kolkata = Site::new(now, k, &peers[0], pools_k.lend(), Role::Begins, rng.fork())?;
    let mut delhi = Site::new(now, d, &peers[1], pools_d.lend(), Role::AnswersAndLogs, rng.fork())?;
    let weather = wan::weather(Chance::per_million((options.loss * 10_000.0) as u32));
    let capture = out.join("wan.pcap");
    let mut wan = Wan::new([k.address, d.address], weather, plan.nat.clone(), rng.next(), &capture)
        .with_context(|| format!("cannot write {}", capture.display()))?;
    let mut report = Report::new(now, d.address);
    let (hosts, sink) = ((&mut kolkata.host, &mut delhi.host), out.join("received"));
    let mut traffic = Traffic::new(now, source, &sink, hosts.0, hosts.1, &mut report)?;
    let mut ike_rekeyed = false;
    let mut closing: Option<Instant> = None;

    loop {
        // Whatever has left its sender's line is captured, and arrives or does not.
        for captured in wan.advance(now).context("cannot write the capture")? {
            report.captured(&captured);
        }

        // 3. A datagram of the unprotected side.
        while let Some(datagram) = wan.deliver(now) {
            let to = datagram.destination.address;
            let site = if to == d.address { &mut delhi } else { &mut kolkata };
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
            if traffic.is_done() {
                report.line(now, k.name, "all is done: the SAs are closed");
                kolkata.close(now);
                closing = Some(now);
                settle_and_transmit(now, &mut kolkata, &mut wan, &mut keys, &mut report)?;
            }
        } else if kolkata.gateway.is_idle() && delhi.gateway.is_idle() {
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
    let digests = traffic.verdict()?;
    let sites = [&kolkata, &delhi];
    report.summary(sites, &traffic.achieved, traffic.arrived(), &digests);
    for site in sites {
        let left = site.gateway.statistics();
        let sas = [left.inbound_sas, left.outbound_sas, left.children];
        ensure!(sas == [0; 3], "{}: not all was released: {left:?}", site.side.name);
    }
    println!("\nThe file arrived whole. To read the capture:");
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
