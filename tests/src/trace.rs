//! What two gateways said to each other, in words: each IKE message with what is in it, each packet with its SPI, and what
//! became of them, and between them what the gateways told and refused.

use core::fmt::Write;
use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec::Vec;

use ipsec::{GatewayEvent, Instant, Provider};
use ipsec_ike::wire::{
    DeletePayload, HEADER_LEN, Header, Message, Notify, Payload, PayloadType, Payloads, SaPayload,
};

use crate::insider::Insider;
use crate::link::{Captured, Datagram, Transport};
use crate::pair::{Node, Pair};

/// Before a message on the port that ESP uses, too.
const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// What happened. The contents of messages are told if the gateways log their keys
/// ([`Config::key_log`](ipsec::Config::key_log)), of established SAs of IKEv2 with the [toy provider](crate::toy).
#[derive(Default)]
pub struct Trace {
    lines: Vec<(Instant, String)>,
    carried: Vec<Captured>,
    /// What the initiator of an IKE SA can read, and the responder, by the initiator's SPI.
    readers: BTreeMap<u64, [Insider; 2]>,
}

impl Trace {
    /// Takes what a pair has told and refused: once, before that is cleared.
    pub fn take_events<P: Provider>(&mut self, pair: &Pair<'_, P>) {
        self.node(&pair.a);
        self.node(&pair.b);
    }

    fn node<P: Provider>(&mut self, node: &Node<'_, P>) {
        let side = node.side;
        for (at, event) in &node.events {
            if let GatewayEvent::IkeKeys(keys) = event {
                let readers = [true, false].map(|initiator| Insider::new(keys.clone(), initiator));
                self.readers.insert(keys.initiator_spi, readers);
            } else {
                self.note(*at, format!("{side:?}: {event:?}"));
            }
        }
        for (at, error) in &node.errors {
            self.note(*at, format!("{side:?} refused: {error}"));
        }
    }

    /// Takes a line of the caller's.
    pub fn note(&mut self, at: Instant, line: String) {
        self.lines.push((at, line));
    }

    /// Takes what the network carried.
    pub fn take(&mut self, captured: &Captured) {
        self.carried.push(captured.clone());
    }

    /// All of it in the order of time, a line each.
    pub fn text(&self) -> String {
        let told = self.carried.iter().map(|captured| (captured.at, self.line(captured)));
        let mut all: Vec<_> = told.chain(self.lines.iter().cloned()).collect();
        all.sort_by_key(|(at, _)| *at);
        all.iter().fold(String::new(), |mut text, (at, line)| {
            let seconds = at.as_micros() / 1_000_000;
            let _ = writeln!(text, "{seconds}.{:06} {line}", at.as_micros() % 1_000_000);
            text
        })
    }

    fn line(&self, captured: &Captured) -> String {
        let Captured { datagram, fate, .. } = captured;
        let ends = format!("{} > {}", datagram.source.address, datagram.destination.address);
        let Some(header) = message(datagram).and_then(|bytes| Header::parse(bytes).ok()) else {
            let fields = datagram.bytes.as_chunks::<4>().0.iter().map(|b| u32::from_be_bytes(*b));
            let packet: Vec<String> = fields.take(2).map(|field| format!("{field:08x}")).collect();
            return format!("    {ends} SPI and sequence {packet:?} {fate:?}");
        };
        let kind = if header.is_response() { "response" } else { "request" };
        let Header { initiator_spi, exchange, message_id, .. } = header;
        let contents = message(datagram).and_then(|bytes| self.contents(&header, bytes));
        let contents = contents.unwrap_or_default();
        let spi = initiator_spi >> 48;
        format!("    {ends} {spi:04x} {exchange} {kind} {message_id} [{contents}] {fate:?}")
    }

    fn contents(&self, header: &Header, bytes: &[u8]) -> Option<String> {
        let encrypted = Message::parse(bytes).ok()?.collect().ok()?.encrypted?;
        if encrypted.fragment.is_some_and(|fragment| fragment.number > 1) {
            return None;
        }
        let reader =
            &self.readers.get(&header.initiator_spi)?[usize::from(!header.from_initiator())];
        let text = reader.try_open(bytes)?;
        let mut words = String::new();
        // Of a message in fragments, what is whole in the first of them.
        for payload in Payloads::inner(encrypted.first, &text).map_while(Result::ok) {
            let _ = write!(words, "{} ", word(&payload));
        }
        Some(words)
    }
}

/// The IKE message in a datagram.
fn message(datagram: &Datagram) -> Option<&[u8]> {
    if datagram.transport != Transport::Udp {
        return None;
    }
    let marked = datagram.bytes.strip_prefix(&NON_ESP_MARKER);
    let plain = [datagram.source, datagram.destination].iter().any(|end| end.port == 500);
    let bytes = if plain { Some(&datagram.bytes[..]) } else { marked };
    bytes.filter(|bytes| bytes.len() >= HEADER_LEN)
}

fn word(payload: &Payload<'_>) -> String {
    let Payload { kind, body, .. } = *payload;
    match kind {
        PayloadType::NOTIFY => Notify::parse(body).map_or_else(
            |e| format!("{e}"),
            |n| format!("{}{}", n.kind, n.spi_u32().map_or(String::new(), |s| format!(":{s:08x}"))),
        ),
        PayloadType::DELETE => DeletePayload::parse(body).map_or_else(
            |e| format!("{e}"),
            |d| format!("DELETE {}{:08x?}", d.protocol, d.spis().collect::<Vec<_>>()),
        ),
        PayloadType::SA => SaPayload::parse(body).map_or_else(
            |e| format!("{e}"),
            |sa| {
                let offered = sa.proposals().map(|p| format!("{}:{:02x?}", p.protocol, p.spi));
                format!("SA {}", offered.collect::<Vec<_>>().join(" "))
            },
        ),
        kind => format!("{kind}"),
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::link::Verdict;
    use crate::pair::Memory;
    use crate::setup::{Setup, Side};

    #[test]
    fn what_was_said_and_what_was_lost() {
        let mut setup = Setup::new(1);
        setup.a.config.ike.key_log = true;
        let mut memory = Memory::new(&setup);
        let mut pair = Pair::new(&setup, &mut memory);
        pair.bring_up();
        pair.run_for(Duration::from_secs(1));
        pair.link.set_hook(|_, _| Verdict::Drop);
        pair.rekey(Side::A).unwrap();
        let mut trace = Trace::default();
        trace.take_events(&pair);
        trace.note(pair.now(), String::from("a remark"));
        for captured in pair.link.take_tap() {
            trace.take(&captured);
        }
        let text = trace.text();
        let lines: Vec<&str> = text.lines().collect();
        let begins = lines.iter().position(|line| line.contains("IKE_SA_INIT request 0")).unwrap();
        let up = lines.iter().position(|line| line.contains("A: ChildUp")).unwrap();
        let lost = lines.iter().position(|line| line.contains("REKEY_SA:")).unwrap();
        assert!(begins < up && up < lost, "{text}");
        assert!(lines[lost].contains("CREATE_CHILD_SA request 2 "), "{text}");
        assert!(lines[lost].ends_with("Hook"), "{text}");
        assert!(text.contains("a remark"), "{text}");
    }
}
