//! Days in the life of two gateways: months of weather, cut lines, restarts, clocks that jump, slow cryptography, commands
//! at bad moments and strangers, all of it decided by a seed.
//!
//! A [life](live) is two gateways on the [toy provider](crate::toy), with a configuration of its own, for some days of
//! virtual time. Each day has quiet hours and troubled ones. What is checked:
//!
//! - after the last trouble of a time, traffic passes both ways through every tunnel again within [`Tally::slowest`], which
//!   is never more than the time to notice that the peer is gone, and to begin anew (`bound`);
//! - in quiet hours every packet is sealed and arrives, through all rekeys (unless the network loses it), no IKE SA and no
//!   tunnel goes down, and both sides have the same SAs, each of them in the database;
//! - no packet ever arrives twice;
//! - in the end, when both sides have closed, no slot, buffer, context, SA, SPI or deadline is in use.
//!
//! `cargo run --release -p ipsec-testkit --bin soak -- --days 100000` lives many lives, and with `--ikev1` in front of
//! `--days` lives them in IKEv1, which cannot keep all of these rules: of children that both sides rekey at once, both stay
//! until they expire, and it acknowledges neither Deletes nor the last messages of its exchanges, so that where the network
//! loses packets in quiet hours, too, a tunnel may be down for a moment.

use core::time::Duration;
use std::collections::HashSet;
use std::format;
use std::string::String;
use std::vec::Vec;

use ipsec::{
    Auth, ChildProposal, ChildRef, CommandError, GatewayEvent, Group, Lifetime, Limits, LocalAuth,
    OutboundError, RemoteAuth, Retransmission, SIGNATURE_SCHEMES, SealError, SigningKey, Sizes,
    Suite, V1, Versions,
};
use ipsec_core::crypto::SignatureScheme;

use crate::link::{Chance, Datagram, Fate, Verdict, Weather};
use crate::pair::{Jobs, Memory, Pair, Sent, number_of};
use crate::rng::SeededRng;
use crate::setup::{ADDRESS_A, ADDRESS_B, HOST_A, HOST_B, PRIVATE_A, Setup, Side, leak, v4};
use crate::toy_keys::public_key;
use crate::trace::Trace;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// What a gateway is told, by the number of the chance.
const COMMANDS: [&str; 8] =
    ["open", "open", "rekey", "rekey", "rekey IKE", "rekey IKE", "close", "close IKE"];
/// What is wrong for a while, by the number of the chance.
const TROUBLES: [&str; 8] =
    ["storm", "storm", "cut", "cut one way", "slow jobs", "jobs fail", "asleep", "restart"];

/// How often one life may lose a gateway.
const RESTARTS_A_DAY: usize = 3;

/// What was lived through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Days.
    pub days: u64,
    /// Times of trouble, each of one or more kinds.
    pub troubles: u64,
    /// Lines cut, both ways or one way.
    pub cuts: u64,
    /// Storms.
    pub storms: u64,
    /// A NAT that chose other ports, or another address.
    pub rebindings: u64,
    /// Clocks set forward.
    pub clock_steps: u64,
    /// Gateways suspended.
    pub sleeps: u64,
    /// Gateways that lost all they knew, half of them without a word.
    pub restarts: u64,
    /// Times of slow or failing cryptography.
    pub slow_jobs: u64,
    /// Commands: open, rekey, close.
    pub commands: u64,
    /// Datagrams of strangers: repeated, changed, invented.
    pub forged: u64,
    /// IKE SAs that came up, counted at each side.
    pub ike_ups: u64,
    /// IKE SAs rekeyed, counted at each side.
    pub ike_rekeys: u64,
    /// Child SAs rekeyed, counted at each side.
    pub child_rekeys: u64,
    /// Datagrams on the network.
    pub datagrams: u64,
    /// Packets given to the gateways.
    pub packets: u64,
    /// Packets that arrived.
    pub arrived: u64,
    /// The longest time from the end of a trouble until traffic passed again.
    pub slowest: Duration,
    /// Mixes all that crossed the network, and when: equal runs, equal digests.
    pub digest: u64,
}

/// Of IKE.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// One life, while it is lived.
struct Life<'r, 't> {
    version: Version,
    seed: u64,
    setup: &'r Setup,
    pair: Pair<'r>,
    chance: SeededRng,
    /// Memory for gateways that start again.
    spare: core::slice::IterMut<'r, Memory>,
    /// The weather of quiet hours.
    fair: Weather,
    tunnels: u8,
    bound: Duration,
    number: u32,
    /// Packets that arrived, with the side.
    seen: HashSet<(Side, u32)>,
    /// Some of what crossed the network lately.
    overheard: Vec<Datagram>,
    /// All that happened, if that is wanted.
    trace: Option<Trace>,
    tally: &'t mut Tally,
}

/// Lives one life of so many days, and counts it.
///
/// # Panics
/// If a rule of the [module](self) is broken, with the seed and what the gateways said on that day.
pub fn live(seed: u64, days: u32, tally: &mut Tally) {
    live_in(Version::Two, seed, days, tally, None);
}

/// The same in IKEv1, Main Mode or Aggressive Mode.
///
/// # Panics
/// As [`live`].
pub fn live_v1(seed: u64, days: u32, tally: &mut Tally) {
    live_in(Version::One, seed, days, tally, None);
}

/// The same life as that of [`live`] or, with `v1`, of [`live_v1`]. If a rule is broken, all that happened is told.
///
/// # Panics
/// As [`live`].
pub fn live_traced(seed: u64, days: u32, v1: bool, tally: &mut Tally) {
    let version = if v1 { Version::One } else { Version::Two };
    live_in(version, seed, days, tally, Some(Trace::default()));
}

fn live_in(version: Version, seed: u64, days: u32, tally: &mut Tally, trace: Option<Trace>) {
    let mut chance = SeededRng::new(seed);
    let (mut setup, tunnels) = any_setup(seed, &mut chance);
    if version == Version::One {
        speak_v1(&mut setup, &mut chance);
    }
    if trace.is_some() {
        for side in Side::BOTH {
            setup.plan(side).config.ike.key_log = true;
        }
    }
    let mut memory = Memory::new(&setup);
    let restarts = usize::try_from(days).unwrap_or(0) * RESTARTS_A_DAY;
    let mut spare: Vec<Memory> = (0..restarts).map(|_| Memory::new(&setup)).collect();
    let mut life = Life {
        version,
        seed,
        setup: &setup,
        pair: Pair::new(&setup, &mut memory),
        chance,
        spare: spare.iter_mut(),
        fair: setup.weather,
        tunnels,
        bound: bound(&setup),
        number: 0,
        seen: HashSet::new(),
        overheard: Vec::new(),
        trace,
        tally,
    };
    for _ in 0..days {
        life.day();
    }
    life.end();
}

/// The time within which traffic passes again: one side notices that the other is silent, and gives it up; the same once
/// more, for what was begun in the last moment of the trouble and has to fail first; then a handshake.
fn bound(setup: &Setup) -> Duration {
    let peer = &setup.a.peers[0];
    let Retransmission { first, longest, tries } = peer.retransmission;
    let mut wait = first;
    let mut give_up = wait;
    for _ in 0..tries {
        wait = (wait * 3 / 2).min(longest);
        give_up += wait;
    }
    peer.liveness.unwrap_or_default() + 2 * give_up + MINUTE
}

fn any_setup(seed: u64, chance: &mut SeededRng) -> (Setup, u8) {
    let mut pick = |all: &[u64]| all[usize::try_from(chance.below(all.len() as u64)).unwrap_or(0)];
    let tunnels = u8::try_from(pick(&[1, 1, 2, 3])).unwrap_or(1);
    let liveness = Duration::from_secs(pick(&[30, 60, 300, 300, 600, 600, 1200]));
    let rekey = Duration::from_secs(pick(&[1200, 3600, 4 * 3600, 12 * 3600]));
    let soft = Duration::from_secs(pick(&[600, 1800, 3600, 8 * 3600]));
    let fragment_size = match pick(&[0, 250, 1280]) {
        0 => None,
        size => u16::try_from(size).ok(),
    };
    let packets = pick(&[200, u64::MAX, u64::MAX]);
    let pfs = pick(&[0, 1]) == 1;
    let quick = pick(&[0, 1]) == 1;
    let weather = Weather {
        loss: Chance::percent(u32::try_from(pick(&[0, 0, 0, 3])).unwrap_or(0)),
        duplication: Chance::percent(u32::try_from(pick(&[0, 5])).unwrap_or(0)),
        reordering: Chance::percent(u32::try_from(pick(&[0, 10])).unwrap_or(0)),
        delay: Duration::from_millis(pick(&[1, 10, 150])),
        jitter: Duration::from_millis(pick(&[0, 30])),
        ..Weather::FAIR
    };
    let signed = pick(&[0, 0, 1]) == 1;
    let nat = pick(&[0, 0, 1]) == 1;
    let mut setup = Setup::new(seed).weather(weather).tunnels(tunnels).peers(|peer| {
        peer.fragment_size = fragment_size;
        peer.liveness = Some(liveness);
        peer.rekey_after = rekey;
        peer.expire_after = rekey + rekey / 8;
        if quick {
            let (first, longest) = (SECOND / 2, 4 * SECOND);
            peer.retransmission = Retransmission { first, longest, tries: 12 };
        }
    });
    setup = setup.sizes(|sizes| {
        // If both sides open everything at once, there are two IKE SAs, and each side has made every tunnel in each.
        let tunnels = 4 * usize::from(tunnels);
        *sizes = Sizes { window: 128, ..Sizes::for_tunnels(tunnels) };
    });
    setup = setup.children(|child| {
        const PFS: &[ChildProposal<'static>] = &[ChildProposal {
            suites: &[Suite::AES_128_GCM],
            groups: &[Group::X25519],
            esn: true,
            additional: &[],
        }];
        if pfs {
            child.proposals = PFS;
        }
        child.lifetime = Lifetime {
            soft: Limits { time: soft, packets, ..Limits::NONE },
            hard: Limits { time: soft + soft / 8, ..Limits::NONE },
        };
    });
    if signed {
        for (side, own, others) in [(Side::A, 1, 2), (Side::B, 2, 1)] {
            let key = SigningKey { id: own.into(), schemes: SIGNATURE_SCHEMES };
            let (spki, schemes) = (leak(public_key(others)), SIGNATURE_SCHEMES);
            setup.plan(side).peers[0].auth = Auth {
                local: LocalAuth::RawPublicKey { spki: leak(public_key(own)), key },
                remote: RemoteAuth::RawPublicKey { spki, schemes },
            };
        }
    }
    (if nat { setup.behind_nat() } else { setup }, tunnels)
}

/// The same configuration in IKEv1, which has no childless IKE SAs and signs in its own ways.
fn speak_v1(setup: &mut Setup, chance: &mut SeededRng) {
    const SCHEMES: &[SignatureScheme] = &[SignatureScheme::RsaIkev1];
    let v1 = if chance.below(3) == 0 { V1::AGGRESSIVE } else { V1::MAIN };
    for side in Side::BOTH {
        let peer = &mut setup.plan(side).peers[0];
        peer.versions = Versions::V1(v1);
        if let LocalAuth::RawPublicKey { key, .. } = &mut peer.auth.local {
            key.schemes = SCHEMES;
        }
        if let RemoteAuth::RawPublicKey { schemes, .. } = &mut peer.auth.remote {
            *schemes = SCHEMES;
        }
    }
}

impl Life<'_, '_> {
    fn day(&mut self) {
        let mut left = DAY;
        for _ in 0..self.chance.below(4) {
            let quiet = self.up_to(8 * HOUR).min(left);
            left -= quiet;
            self.quiet(quiet);
            let before = self.pair.now();
            self.trouble();
            left = left.saturating_sub(self.pair.now().since(before));
        }
        self.quiet(left);
        self.tally.days += 1;
        if let Some(trace) = &mut self.trace {
            trace.take_events(&self.pair);
        }
        for node in [&mut self.pair.a, &mut self.pair.b] {
            self.tally.ike_ups += node.count(|e| matches!(e, GatewayEvent::IkeUp { .. })) as u64;
            self.tally.ike_rekeys += node.ike_rekeys() as u64;
            self.tally.child_rekeys += node.child_rekeys() as u64;
            node.events.clear();
            node.errors.clear();
        }
    }

    fn up_to(&mut self, time: Duration) -> Duration {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.chance.below(micros))
    }

    fn side(&mut self) -> Side {
        if self.chance.below(2) == 0 { Side::A } else { Side::B }
    }

    /// Fails, with what there is to know.
    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            let log = match &mut self.trace {
                Some(trace) => {
                    trace.take_events(&self.pair);
                    trace.text()
                }
                None => {
                    let log = self.pair.log();
                    log.get(log.len().saturating_sub(12_000)..).map_or(log.clone(), String::from)
                }
            };
            panic!("seed {}, day {}: {}\n{log}", self.seed, self.tally.days, what());
        }
    }

    /// Tells the trace, if there is one.
    fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.pair.now();
        if let Some(trace) = &mut self.trace {
            trace.note(now, line());
        }
    }

    // ---- traffic ----

    fn tunnel(&mut self) -> u8 {
        u8::try_from(self.chance.below(self.tunnels.into())).unwrap_or(0)
    }

    /// Sends a packet through a tunnel.
    fn send(&mut self, from: Side, tunnel: u8) -> Sent {
        let hosts = if tunnel == 0 {
            (HOST_A, HOST_B)
        } else {
            (v4(10, 1, tunnel, 1), v4(10, 2, tunnel, 1))
        };
        let hosts = if from == Side::A { hosts } else { (hosts.1, hosts.0) };
        self.number += 1;
        self.tally.packets += 1;
        self.pair.send_between(from, hosts, self.number)
    }

    /// Looks at what has happened.
    fn collect(&mut self) {
        for side in Side::BOTH {
            for packet in core::mem::take(&mut self.pair.node(side).received) {
                let number = number_of(&packet);
                let first = self.seen.insert((side, number));
                self.check(first, || format!("packet {number} arrived twice"));
                self.tally.arrived += 1;
            }
            self.pair.node(side).received_from.clear();
        }
        for captured in self.pair.link.take_tap() {
            self.tally.datagrams += 1;
            if let Some(trace) = &mut self.trace {
                trace.take(&captured);
            }
            let at = captured.at.as_micros().to_le_bytes();
            let bytes = captured.datagram.bytes.iter();
            for &byte in at.iter().chain(bytes) {
                let mixed = (self.tally.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
                self.tally.digest = mixed.rotate_left(5);
            }
            if self.overheard.len() < 32 {
                self.overheard.push(captured.datagram);
            } else if captured.fate != Fate::Lost && self.chance.below(8) == 0 {
                let place = usize::try_from(self.chance.below(32)).unwrap_or(0);
                self.overheard[place] = captured.datagram;
            }
        }
    }

    fn run_for(&mut self, time: Duration) {
        self.pair.run_for(time);
        self.collect();
    }

    /// Both sides send through a tunnel, until something sent from now on has arrived at each. B knows no address of a peer
    /// behind a NAT, and waits for it to begin.
    fn gets_through(&mut self, tunnel: u8) {
        let begun = self.pair.now();
        let first = self.number + 1;
        loop {
            for from in Side::BOTH {
                let sent = self.send(from, tunnel);
                let good = match sent {
                    Sent::Sealed | Sent::Waiting => true,
                    Sent::Refused(OutboundError::Start(CommandError::NoAddress)) => {
                        from == Side::B && !self.setup.nats.is_empty()
                    }
                    // The lifetime is over, and the peer has not yet answered to the deletion.
                    Sent::Refused(OutboundError::Seal(SealError::Expired(_))) => true,
                    _ => false,
                };
                self.check(good, || format!("{from:?}: {sent:?}"));
            }
            self.run_for(SECOND);
            let took = self.pair.now().since(begun);
            let arrived = |to| (first..=self.number).any(|n| self.seen.contains(&(to, n)));
            if arrived(Side::A) && arrived(Side::B) {
                self.tally.slowest = self.tally.slowest.max(took);
                return;
            }
            self.check(took < self.bound, || format!("nothing through {tunnel} for {took:?}"));
        }
    }

    /// Nothing is wrong for a while.
    fn quiet(&mut self, time: Duration) {
        let until = self.pair.now().after(time);
        // What was still to be done is done, what only one side still has is given up, and whoever wants a tunnel opens it.
        self.recover();
        self.run_for(self.bound);
        self.recover();
        let lossless = self.fair.loss == Chance::NEVER;
        let calm_since = self.pair.now();
        while self.pair.now() < until {
            let pause = self.up_to(HOUR).min(until.since(self.pair.now()));
            self.run_for(pause);
            let tunnel = self.tunnel();
            // A and B take turns.
            let count = 1 + self.chance.below(20);
            let first = self.number + 1;
            for _ in 0..count {
                for side in Side::BOTH {
                    let sent = self.send(side, tunnel);
                    self.check(sent == Sent::Sealed, || format!("{side:?}, quiet: {sent:?}"));
                }
                let moment = self.up_to(SECOND / 10);
                self.pair.run_for(moment);
            }
            self.run_for(SECOND);
            for number in first..=self.number {
                let to = if (number - first).is_multiple_of(2) { Side::B } else { Side::A };
                let (arrived, now) = (self.seen.contains(&(to, number)), self.pair.now());
                self.check(arrived || !lossless, || {
                    format!("packet {number} to {to:?} is lost in quiet, {now:?}")
                });
            }
        }
        for side in Side::BOTH {
            let events = &self.pair.node(side).events;
            let down = events.iter().find(|(at, event)| {
                *at >= calm_since
                    && match event {
                        GatewayEvent::IkeDown { .. } => true,
                        GatewayEvent::ChildDown { tunnel_up, .. } => !tunnel_up,
                        _ => false,
                    }
            });
            // IKEv1 acknowledges neither the third message of Quick Mode nor a Delete: the network may lose one of them.
            let down = down.filter(|_| lossless || self.version == Version::Two);
            let down = down.map(|(at, event)| format!("{side:?}, quiet: {at:?} {event:?}"));
            self.check(down.is_none(), || down.unwrap_or_default());
        }
        self.check_sas();
    }

    /// Both sides have the same SAs, and nothing else.
    fn check_sas(&mut self) {
        // An exchange and a buffer of each IKE SA may hold the last response.
        let buffers = self.setup.a.sizes.buffers;
        // In IKEv1, of two that were made at once no rule says which goes: both stay as long as they may live.
        let strict = self.version == Version::Two;
        let busy = move |pair: &Pair<'_>| {
            [&pair.a, &pair.b].into_iter().any(|node| {
                let now = node.statistics();
                now.handshakes > 0
                    || now.exchanges > now.ike_sas
                    || now.buffers_free + now.exchanges < buffers
                    || node.gateway.ike().established().count() != now.ike_sas
                    || strict && node.gateway.ike().established_children().count() != now.children
                    || now.children != now.outbound_sas
            }) || pair.link.in_flight() > 0
        };
        let limit = self.bound + 5 * MINUTE;
        let settled = self.pair.wait(limit, |pair| !busy(pair));
        self.collect();
        let (a, b) = (self.pair.a.statistics(), self.pair.b.statistics());
        let counts = [&self.pair.a, &self.pair.b].map(|node| {
            let ike = node.gateway.ike();
            (ike.established().count(), ike.established_children().count())
        });
        self.check(settled, || {
            format!("never comes to rest: {a:?} {b:?}, established {counts:?}, {buffers} buffers")
        });
        let both = a.ike_sas == b.ike_sas && (!strict || a.children == b.children);
        self.check(both, || format!("not the same: {a:?} {b:?}"));
        for now in [a, b] {
            let all = now.children == now.inbound_sas && now.children == now.outbound_sas;
            let few = now.ike_sas <= 2 && now.children <= 4 * usize::from(self.tunnels) || !strict;
            self.check(all && few, || format!("{now:?}"));
        }
    }

    // ---- trouble ----

    /// For a while, one to three things are wrong; then nothing is any more.
    fn trouble(&mut self) {
        self.tally.troubles += 1;
        let nat = !self.setup.nats.is_empty();
        let length = match self.chance.below(4) {
            0 => self.up_to(2 * HOUR),
            1 => self.up_to(20 * MINUTE),
            _ => self.up_to(2 * MINUTE),
        };
        let until = self.pair.now().after(length);
        for _ in 0..=self.chance.below(3) {
            self.something_lasting();
        }
        while self.pair.now() < until {
            match self.chance.below(16) {
                0..=3 => self.command(),
                4..=6 => self.stranger(),
                7 if nat => self.rebind(),
                8 if self.chance.below(8) == 0 => self.restart(),
                9 if self.chance.below(8) == 0 => self.step_a_clock(),
                10 if self.chance.below(4) == 0 => self.something_lasting(),
                _ => {
                    let (side, tunnel) = (self.side(), self.tunnel());
                    if !self.pair.node(side).asleep {
                        let _ = self.send(side, tunnel);
                    }
                }
            }
            let pause = self.up_to(length / 16 + 3 * SECOND);
            self.run_for(pause);
        }
        self.note(|| String::from("the trouble is over"));
        self.pair.link.set_weather(self.fair);
        self.pair.link.clear_hook();
        for side in Side::BOTH {
            let node = self.pair.node(side);
            node.jobs = Jobs::AtOnce;
            node.asleep = false;
        }
        // Who wakes up looks at the clock first.
        self.run_for(Duration::ZERO);
        self.recover();
    }

    /// Traffic passes through all tunnels, both ways.
    fn recover(&mut self) {
        for tunnel in 0..self.tunnels {
            self.gets_through(tunnel);
        }
    }

    /// What ends with the trouble.
    fn something_lasting(&mut self) {
        let side = self.side();
        let which = self.chance.below(8);
        self.note(|| format!("trouble of {side:?}: {}", TROUBLES[which as usize]));
        match which {
            0 | 1 => {
                let weather = self.any_weather();
                self.pair.link.set_weather(weather);
                self.tally.storms += 1;
            }
            2 => {
                self.pair.link.set_hook(|_, _| Verdict::Drop);
                self.tally.cuts += 1;
            }
            3 => {
                let blind = Weather { loss: Chance::ALWAYS, ..self.fair };
                let to = if side == Side::A { self.seen_of_a() } else { ADDRESS_B };
                self.pair.link.set_weather_towards(to, blind);
                self.tally.cuts += 1;
            }
            4 => {
                let late = self.up_to(8 * SECOND);
                self.pair.node(side).jobs = Jobs::After(late);
                self.tally.slow_jobs += 1;
            }
            5 => {
                let late = self.up_to(SECOND);
                self.pair.node(side).jobs = Jobs::Fail(late);
                self.tally.slow_jobs += 1;
            }
            6 => {
                self.pair.node(side).asleep = true;
                self.tally.sleeps += 1;
            }
            _ => self.restart(),
        }
    }

    /// The address that B sees of A.
    fn seen_of_a(&mut self) -> core::net::IpAddr {
        match self.setup.a.address {
            PRIVATE_A => self.pair.link.nat(0).public(),
            _ => ADDRESS_A,
        }
    }

    fn any_weather(&mut self) -> Weather {
        let chance = &mut self.chance;
        let mut percent = |most| Chance::percent(u32::try_from(chance.below(most)).unwrap_or(0));
        let (loss, duplication, reordering) = (percent(50), percent(20), percent(40));
        let (hold, delay) = (self.up_to(2 * SECOND), self.up_to(SECOND / 2));
        let jitter = self.up_to(SECOND / 2);
        Weather { loss, duplication, reordering, hold, delay, jitter, ..Weather::STORM }
    }

    fn rebind(&mut self) {
        self.tally.rebindings += 1;
        if self.chance.below(2) == 0 {
            self.pair.link.nat(0).rebind();
        } else {
            let host = 100 + u8::try_from(self.chance.below(100)).unwrap_or(0);
            self.pair.link.nat(0).rebind_to(v4(203, 0, 113, host));
        }
    }

    fn step_a_clock(&mut self) {
        let side = self.side();
        let step = match self.chance.below(3) {
            0 => self.up_to(12 * HOUR),
            1 => self.up_to(HOUR),
            _ => self.up_to(MINUTE),
        };
        self.note(|| format!("the clock of {side:?} goes forward by {step:?}"));
        self.pair.node(side).ahead += step;
        self.run_for(Duration::ZERO);
        self.tally.clock_steps += 1;
    }

    fn restart(&mut self) {
        let Some(memory) = self.spare.next() else { return };
        let side = self.side();
        if self.chance.below(2) == 0 {
            self.pair.close_all(side);
        }
        self.pair.restart(side, self.setup, memory);
        self.tally.restarts += 1;
    }

    fn command(&mut self) {
        self.tally.commands += 1;
        let side = self.side();
        if self.pair.node(side).asleep {
            return;
        }
        let child = ChildRef { peer: 0, child: self.tunnel().into() };
        let ike = self.pair.node(side).gateway.ike().established().next().map(|(ike, _)| ike);
        let which = self.chance.below(8);
        self.note(|| format!("{side:?} is told: {} {}", COMMANDS[which as usize], child.child));
        match (which, ike) {
            (0 | 1, _) if !self.pair.node(side).tunnel_is_up(child) => {
                let _ = self.pair.with(side, |g, now, rng| g.initiate(now, rng, child));
            }
            (2 | 3, _) => {
                let _ = self.pair.with(side, |g, now, rng| g.rekey(now, rng, child));
            }
            (4 | 5, Some(ike)) => {
                let _ = self.pair.with(side, |g, now, rng| g.rekey_ike(now, rng, ike));
            }
            (6, _) => {
                let _ = self.pair.with(side, |g, now, rng| g.close(now, rng, child));
            }
            (7, Some(ike)) => {
                let _ = self.pair.with(side, |g, now, rng| g.close_ike(now, rng, ike));
            }
            _ => {}
        }
    }

    /// Somebody on the way repeats what it has heard, as it was or changed, or from elsewhere.
    fn stranger(&mut self) {
        for _ in 0..=self.chance.below(4) {
            let some = self.chance.below(self.overheard.len().max(1) as u64);
            let Some(heard) = self.overheard.get(usize::try_from(some).unwrap_or(0)) else {
                return;
            };
            let mut datagram = heard.clone();
            match self.chance.below(4) {
                0 => {
                    let len = datagram.bytes.len() as u64;
                    for _ in 0..=self.chance.below(4) {
                        let place = usize::try_from(self.chance.below(len)).unwrap_or(0);
                        if let Some(byte) = datagram.bytes.get_mut(place) {
                            *byte ^= 1 << self.chance.below(8);
                        }
                    }
                }
                1 => datagram.source.port ^= 1,
                2 => {
                    let len = self.chance.below(datagram.bytes.len() as u64 + 1);
                    datagram.bytes.truncate(usize::try_from(len).unwrap_or(0));
                }
                _ => {}
            }
            let now = self.pair.now();
            self.pair.link.inject(now, datagram);
            self.tally.forged += 1;
        }
    }

    // ---- the end ----

    fn end(&mut self) {
        self.pair.close_all(Side::A);
        self.run_for(10 * MINUTE);
        self.pair.close_all(Side::B);
        self.run_for(30 * MINUTE);
        self.pair.a.assert_empty();
        self.pair.b.assert_empty();
    }
}
