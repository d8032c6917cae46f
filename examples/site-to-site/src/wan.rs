//! The network between the gateways: the test kit's link, reached over lines of a certain speed, and a capture of it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ipsec::Instant;
use ipsec::ipsec_core::time::earliest;
use ipsec_testkit::link::{Captured, Chance, Datagram, Link, Nat, Weather};
use ipsec_testkit::pcap::Pcap;

/// The speed of each gateway's line, in megabits a second.
pub const LINE_MBITS: u64 = 100;
/// The longest IP packet.
pub const MTU: usize = 1500;

/// The weather: some packets are lost, a few come twice, a few come late, and delays differ a little.
pub fn weather(loss: Chance) -> Weather {
    Weather {
        loss,
        duplication: Chance::per_million(5_000),
        reordering: Chance::per_million(5_000),
        hold: Duration::from_millis(3),
        delay: Duration::from_millis(15),
        jitter: Duration::from_micros(150),
        mtu: MTU,
        ..Weather::FAIR
    }
}

/// A line that sends one packet after the other.
struct Line {
    address: IpAddr,
    free_at: Instant,
    waiting: VecDeque<(Instant, Datagram)>,
}

/// The network.
pub struct Wan {
    link: Link,
    lines: [Line; 2],
    capture: BufWriter<File>,
    /// Bytes of a capture of nothing.
    capture_header: usize,
}

impl Wan {
    /// Between two addresses. What crosses the network goes into the file `capture`.
    pub fn new(
        addresses: [IpAddr; 2],
        weather: Weather,
        nat: Option<Nat>,
        seed: u64,
        capture: &Path,
    ) -> io::Result<Self> {
        let link = Link::new(seed, weather);
        let header = Pcap::new();
        let mut capture = BufWriter::new(File::create(capture)?);
        capture.write_all(header.as_bytes())?;
        Ok(Self {
            link: match nat {
                Some(nat) => link.with_nat(nat),
                None => link,
            },
            lines: addresses.map(|address| Line {
                address,
                free_at: Instant::ZERO,
                waiting: VecDeque::new(),
            }),
            capture,
            capture_header: header.as_bytes().len(),
        })
    }

    /// The line of `from` has another address.
    pub fn rename(&mut self, from: IpAddr, to: IpAddr) {
        let lines = self.lines.iter_mut().filter(|line| line.address == from);
        lines.for_each(|line| line.address = to);
    }

    /// Puts a datagram on its sender's line.
    pub fn send(&mut self, now: Instant, datagram: Datagram) {
        let Some(line) = self.lines.iter_mut().find(|l| l.address == datagram.source.address)
        else {
            return;
        };
        let micros = datagram.packet_len() as u64 * 8 / LINE_MBITS;
        line.free_at = line.free_at.max(now).after(Duration::from_micros(micros));
        line.waiting.push_back((line.free_at, datagram));
    }

    /// When something happens on the network.
    pub fn next_event(&self) -> Option<Instant> {
        let sent = |line: &Line| line.waiting.front().map(|(at, _)| *at);
        self.lines.iter().map(sent).fold(self.link.next_event(), earliest)
    }

    /// Lets the network work until `now`. Gives what has left the lines, as the network between the middleboxes saw it.
    pub fn advance(&mut self, now: Instant) -> io::Result<Vec<Captured>> {
        for line in &mut self.lines {
            while line.waiting.front().is_some_and(|(at, _)| *at <= now) {
                let Some((at, datagram)) = line.waiting.pop_front() else { break };
                self.link.send(at, datagram);
            }
        }
        let seen = self.link.take_tap();
        let packets = Pcap::of(&seen);
        self.capture.write_all(&packets.as_bytes()[self.capture_header..])?;
        Ok(seen)
    }

    /// The next datagram that has arrived. Call it until it gives `None`.
    pub fn deliver(&mut self, now: Instant) -> Option<Datagram> {
        self.link.deliver(now)
    }

    /// Completes the capture.
    pub fn finish(&mut self) -> io::Result<()> {
        self.capture.flush()
    }
}
