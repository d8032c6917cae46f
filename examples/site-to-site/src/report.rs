//! What a person sees: the time line, a progress bar, and the summary.

use std::collections::HashSet;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ipsec::ipsec_core::sa::Protocol;
use ipsec::ipsec_ike::wire::Header;
use ipsec::{AgreedAh, ChildAgreed, GatewayEvent, Group, IkeAgreed, Instant, Overhead};
use ipsec_testkit::link::{Captured, Fate, Transport};

use crate::plan::TUNNEL;
use crate::site::Site;
use crate::traffic::Achieved;
use crate::wan;

/// The port on which IKE and ESP meet behind a NAT (RFC 3948).
const NAT_PORT: u16 = 4500;

/// The IP protocol number of AH.
const AH: u8 = 51;

/// Everything that is told to a person.
pub struct Report {
    start: Instant,
    delhi: IpAddr,
    bar: ProgressBar,
    acquired_at: Option<Instant>,
    up_at: Option<Instant>,
    handshake_messages: u64,
    overhead: Option<Overhead>,
    ike: Option<IkeAgreed>,
    child: Option<ChildAgreed>,
    spis: HashSet<[u8; 4]>,
    seen: Seen,
}

/// What crossed the network.
#[derive(Default)]
struct Seen {
    esp: u64,
    ike: u64,
    keepalives: u64,
    lost: u64,
    repeated: u64,
    dropped: u64,
    longest: usize,
}

impl Report {
    /// A report that begins now. `delhi` is the address by which packets are told apart.
    pub fn new(start: Instant, delhi: IpAddr) -> Self {
        let bar = ProgressBar::new(0);
        let style = "{spinner} {bytes} of {total_bytes} [{bar:40}] {percent}%";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            start,
            delhi,
            bar,
            acquired_at: None,
            up_at: None,
            handshake_messages: 0,
            overhead: None,
            ike: None,
            child: None,
            spis: HashSet::new(),
            seen: Seen::default(),
        }
    }

    /// One line of the time line.
    pub fn line(&self, now: Instant, who: &str, what: &str) {
        let time = now.since(self.start).as_secs_f64();
        self.print(&format!("{time:>12.6}  {who:<8} {what}"));
    }

    /// The continuation of a line.
    fn more(&self, what: &str) {
        self.print(&format!("{:23}  {what}", ""));
    }

    /// Prints without tearing the progress bar. Nobody may be reading any more: that is no reason to stop.
    fn print(&self, text: &str) {
        self.bar.suspend(|| {
            let _ = writeln!(std::io::stdout(), "{text}");
        });
    }

    /// Interesting traffic has come.
    pub fn acquire(&mut self, now: Instant) {
        self.acquired_at.get_or_insert(now);
    }

    /// The transfer goes on. The bar shows itself only on a terminal.
    pub fn progress(&self, done: u64, of: u64) {
        self.bar.set_length(of.max(done));
        self.bar.set_position(done);
    }

    /// A packet has left its sender's line.
    pub fn captured(&mut self, captured: &Captured) {
        let Captured { at, datagram, fate } = captured;
        let to_delhi = datagram.destination.address == self.delhi;
        let who = if to_delhi { "Kolkata" } else { "Delhi" };
        let seen = &mut self.seen;
        let fate = match fate {
            Fate::Sent(1) => "",
            Fate::Sent(_) => {
                seen.repeated += 1;
                ", which the network repeats"
            }
            Fate::Lost => {
                seen.lost += 1;
                ", which the network loses"
            }
            _ => {
                seen.dropped += 1;
                ", which cannot pass"
            }
        };
        seen.longest = seen.longest.max(datagram.packet_len());
        let ports = [datagram.source.port, datagram.destination.port];
        let on_nat_port = ports.contains(&NAT_PORT);
        let esp = match datagram.transport {
            Transport::Ip(_) => true,
            Transport::Udp if !on_nat_port => false,
            Transport::Udp if datagram.bytes == [0xff] => {
                seen.keepalives += 1;
                return;
            }
            // RFC 3948 section 2.2: IKE has a non-ESP marker there.
            Transport::Udp => !datagram.bytes.starts_with(&[0; 4]),
        };
        if esp {
            seen.esp += 1;
            // AH comes with the IP header before it, and has the SPI at its fifth byte.
            let is_ah = datagram.transport == Transport::Ip(AH);
            let header = if datagram.destination.address.is_ipv4() { 20 } else { 40 };
            let at_spi = if is_ah { header + 4 } else { 0 };
            if let Some(spi) = datagram.bytes.get(at_spi..).and_then(|bytes| bytes.first_chunk())
                && self.spis.insert(*spi)
            {
                let spi = u32::from_be_bytes(*spi);
                let how = match (on_nat_port, is_ah) {
                    (true, _) => "ESP in UDP",
                    (false, false) => "ESP",
                    (false, true) => "AH",
                };
                let text = format!("-> first {how} packet on SPI {spi:08x}{fate}");
                self.line(*at, who, &text);
            }
            return;
        }
        seen.ike += 1;
        if self.acquired_at.is_some() && self.up_at.is_none() {
            self.handshake_messages += 1;
        }
        let message = if on_nat_port { datagram.bytes.get(4..) } else { Some(&datagram.bytes[..]) };
        let text = match Header::parse(message.unwrap_or_default()) {
            Ok(header) => format!(
                "-> {} {} {}, {} bytes, port {} to {}{fate}",
                header.exchange,
                if header.is_response() { "response" } else { "request" },
                header.message_id,
                header.length,
                ports[0],
                ports[1],
            ),
            Err(_) => format!("-> {} bytes that are no IKE message{fate}", datagram.bytes.len()),
        };
        self.line(*at, who, &text);
    }

    /// A gateway tells something.
    pub fn event(&mut self, now: Instant, site: &Site<'_>, event: &GatewayEvent) {
        let who = site.side.name;
        match event {
            GatewayEvent::IkeUp { agreed, path, .. } => {
                self.line(now, who, &format!("IKE SA up: {}", ike(agreed)));
                self.more(&format!("{path}; {}", nat(agreed)));
                self.ike = Some(*agreed);
            }
            GatewayEvent::IkeRekeyed { agreed, .. } => {
                self.line(now, who, &format!("IKE SA rekeyed: {}", ike(agreed)));
            }
            GatewayEvent::IkeDown { reason, .. } => {
                self.line(now, who, &format!("IKE SA gone: {reason}"));
            }
            GatewayEvent::ChildUp { agreed, .. } => {
                self.line(now, who, &format!("tunnel up: {}", child(agreed)));
                if let Some(id) = site.gateway.sad().lookup(Protocol::Esp, agreed.inbound_spi)
                    && let Some(sa) = site.gateway.sad().inbound(id)
                {
                    let list = |side: &[ipsec::TrafficSelector]| {
                        side.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                    };
                    let (local, remote) = (list(&sa.selectors.local), list(&sa.selectors.remote));
                    self.more(&format!("{local} here, {remote} there"));
                }
                if let Some(overhead) = site.gateway.overhead(TUNNEL) {
                    let (mtu, mss) = sizes(&overhead, site.host.address());
                    self.more(&format!(
                        "of {} bytes, a packet keeps {mtu}; TCP MSS {mss}",
                        wan::MTU
                    ));
                    self.overhead = Some(overhead);
                }
                if self.acquired_at.is_some() && site.side.address != self.delhi {
                    self.up_at.get_or_insert(now);
                }
                self.child = Some(*agreed);
            }
            GatewayEvent::ChildRekeyed { agreed, .. } => {
                self.line(now, who, &format!("tunnel rekeyed: {}", child(agreed)));
            }
            GatewayEvent::ChildDown { reason, tunnel_up, .. } => {
                let rest =
                    if *tunnel_up { "another carries the tunnel" } else { "the tunnel is down" };
                self.line(now, who, &format!("child SA gone: {reason}; {rest}"));
            }
            GatewayEvent::ChildMoved { path, .. } => {
                self.line(now, who, &format!("packets go another way: {path}"));
            }
            GatewayEvent::Failed { failure, .. } => {
                self.line(now, who, &format!("negotiation failed: {failure}"));
            }
            GatewayEvent::InstallFailed { error, .. } => {
                self.line(now, who, &format!("an SA could not be installed: {error}"));
            }
            GatewayEvent::IkeKeys(_) | GatewayEvent::EspKeys(_) => {}
            other => self.line(now, who, &format!("{other:?}")),
        }
    }

    /// How long it took from the first packet to the tunnel, if both came.
    fn handshake(&self) -> Option<Duration> {
        Some(self.up_at?.since(self.acquired_at?))
    }

    /// The end of it all.
    pub fn summary(
        &self,
        sites: [&Site<'_>; 2],
        achieved: &Achieved,
        bytes: u64,
        digests: &[String; 2],
    ) {
        self.bar.finish_and_clear();
        let item = |name: &str, text: String| self.print(&format!("  {name:<12} {text}"));
        self.print("");
        self.print("Summary, all times virtual");
        if let Some(agreed) = &self.ike {
            item("IKE", format!("{}; {}", ike(agreed), nat(agreed)));
        }
        if let Some(agreed) = &self.child {
            item("ESP", child(agreed));
        }
        if let Some(handshake) = self.handshake() {
            let ms = handshake.as_secs_f64() * 1e3;
            item(
                "handshake",
                format!("{ms:.1} ms from the first packet, {} messages", self.handshake_messages),
            );
        }
        item(
            "ping",
            format!(
                "{:.1} ms, answered at number {}",
                achieved.ping.as_secs_f64() * 1e3,
                achieved.pings
            ),
        );
        let secs = achieved.transfer.as_secs_f64();
        let mbits = if secs > 0.0 { bytes as f64 * 8e-6 / secs } else { 0.0 };
        item(
            "file",
            format!(
                "{} bytes in {secs:.3} s, {mbits:.1} Mbit/s on lines of {} Mbit/s",
                grouped(bytes),
                wan::LINE_MBITS
            ),
        );
        item("SHA-256", format!("sent     {}", digests[0]));
        item("", format!("received {}", digests[1]));

        let counters = sites.map(|site| site.gateway.counters());
        for (site, counters) in sites.into_iter().zip(counters) {
            item(
                site.side.name,
                format!(
                    "{} packets sealed, {} opened; {} IKE messages sent, {} accepted",
                    grouped(counters.sealed),
                    grouped(counters.opened),
                    counters.ike_out,
                    counters.ike_in
                ),
            );
        }
        let sealed: u64 = counters.iter().map(|c| c.sealed).sum();
        let inner: u64 = counters.iter().map(|c| c.sealed_bytes).sum();
        let outer: u64 = counters.iter().map(|c| c.sealed_outer_bytes).sum();
        if sealed > 0 && inner > 0 {
            let added = (outer - inner) as f64;
            item(
                "overhead",
                format!(
                    "{:.1} bytes a packet, {:.2} % of the bytes sent",
                    added / sealed as f64,
                    added * 100.0 / inner as f64
                ),
            );
        }
        if let Some(overhead) = &self.overhead {
            let (mtu, mss) = sizes(overhead, sites[0].host.address());
            item(
                "MTU",
                format!(
                    "{mtu} of {}, TCP MSS {mss}; the longest outer packet had {}",
                    wan::MTU,
                    self.seen.longest
                ),
            );
        }
        let [kolkata, _] = counters;
        item(
            "rekeys",
            format!("{} of the tunnel, {} of the IKE SA", kolkata.rekeys, kolkata.ike_rekeys),
        );
        let Seen { esp, ike, keepalives, lost, repeated, dropped, .. } = &self.seen;
        item(
            "network",
            format!(
                "{} ESP or AH and {ike} IKE packets, {keepalives} keepalives; {lost} lost, {repeated} repeated, {dropped} could not pass",
                grouped(*esp)
            ),
        );
        for (site, counters) in sites.into_iter().zip(counters) {
            let drops: Vec<_> =
                counters.drops().map(|(why, count)| format!("{count} {why}")).collect();
            let drops = if drops.is_empty() { "nothing".into() } else { drops.join(", ") };
            item("dropped", format!("by {}: {drops}", site.side.name));
        }
    }
}

fn ike(agreed: &IkeAgreed) -> String {
    let IkeAgreed { suite, prf, group, additional, initiator_spi, responder_spi, .. } = agreed;
    let more = more(additional);
    format!("{suite}, {prf}, {group}{more}, SPIs {initiator_spi:016x} {responder_spi:016x}")
}

/// Key exchanges after the first.
fn more(groups: &[Group]) -> String {
    let some = groups.iter().filter(|group| **group != Group::NONE);
    some.map(|group| format!("+{group}")).collect()
}

fn nat(agreed: &IkeAgreed) -> &'static str {
    match (agreed.nat_local, agreed.nat_remote) {
        (false, false) => "no NAT between",
        (true, false) => "a NAT before us",
        (false, true) => "a NAT before the peer",
        (true, true) => "NATs before both",
    }
}

fn child(agreed: &ChildAgreed) -> String {
    let ChildAgreed {
        suite,
        inbound_spi,
        outbound_spi,
        group,
        additional,
        encapsulated,
        esn,
        transport,
        around,
        ..
    } = agreed;
    let how = match (encapsulated, suite.is_ah() || around.is_some()) {
        (true, _) => "in UDP",
        (false, false) => "as IP protocol 50",
        (false, true) => "as IP protocol 51",
    };
    let around = around.map_or_else(String::new, |around| {
        let AgreedAh { integ, inbound_spi, outbound_spi } = around;
        format!(", in AH {integ}, SPI {inbound_spi} in, {outbound_spi} out")
    });
    let mode = if *transport { ", transport mode" } else { "" };
    let group = if *group == Group::NONE {
        String::new()
    } else {
        format!(", {group}{}", more(additional))
    };
    let esn = if *esn { ", ESN" } else { "" };
    format!("{suite}{group}{esn}{mode}, {how}, SPI {inbound_spi} in, {outbound_spi} out{around}")
}

/// The longest packet and the largest TCP segment that a host can send.
fn sizes(overhead: &Overhead, host: IpAddr) -> (usize, usize) {
    (overhead.effective_mtu(wan::MTU), overhead.tcp_mss(wan::MTU, host.is_ipv4()))
}

/// A number with its digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let head = digits.len() % 3;
    let mut groups: Vec<&str> = Vec::from([&digits[..head]]);
    groups.extend((head..digits.len()).step_by(3).map(|at| &digits[at..at + 3]));
    groups.retain(|group| !group.is_empty());
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_groups() {
        let numbers = [0, 12, 123, 1234, 12_345, 1_234_567];
        assert_eq!(numbers.map(grouped), ["0", "12", "123", "1,234", "12,345", "1,234,567"]);
    }
}
