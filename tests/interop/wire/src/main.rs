//! Our side of the kernel cases of the interoperability suite: seals and opens packets on request.
//!
//! One request a line on standard input, one answer a line on standard output. An answer begins with `ok` or with
//! `error`, whose next word is the variant of the error enum. Packets and keys are in hexadecimal.
//!
//! | request | answer |
//! |---|---|
//! | `suites` | `ok`, and for each suite of the provider `esp:ENCR:BITS:INTEG:KEYMAT_LEN:NAME` or `ah:INTEG:KEYMAT_LEN:NAME` |
//! | `add WORD=VALUE...` | `ok NUMBER SPI`: a pair of SAs, and the SPI on which its inbound one receives. See [`Pair`] |
//! | `resume NUMBER SENT RECEIVED` | `ok`: the pair is exported and imported, as if so many packets had been sent and received |
//! | `seal NUMBER PACKET` | `ok PACKET` |
//! | `dummy NUMBER LEN` | `ok PACKET`: one that hides so many bytes of nothing |
//! | `fragment PACKET MTU` | `ok PACKET...` |
//! | `collect PACKET` | `ok`, or `ok PACKET` once all fragments are there |
//! | `open PACKET` | `ok NUMBER SEQUENCE PACKET` |
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
use std::io::{self, BufRead, Write as _};
use std::iter::repeat_with;
use std::net::IpAddr;
use std::time::Duration;

use ipsec_core::crypto::{Encr, Integ, Provider, Suite};
use ipsec_core::lifetime::Lifetime;
use ipsec_core::mode::{AddressPair, DontFragment, Mode, Tunnel};
use ipsec_core::packet::PacketBuf;
use ipsec_core::path::{Endpoint, Path};
use ipsec_core::replay;
use ipsec_core::sa::{AhAlign, Algorithms, Encapsulation, SaParams, Spi};
use ipsec_core::sad::{
    FoundBy, InboundSlot, OutboundId, OutboundSlot, RECORD_LEN, SaId, Sad, SadMemory, SpiAllocator,
};
use ipsec_core::selector::{AddressRange, Selectors, TrafficSelector};
use ipsec_core::time::Instant;
use ipsec_esp::fragment::Fragments;
use ipsec_esp::reassembly::{Reassembled, Reassembler, ReassemblySlot};
use ipsec_esp::{Inbound, inbound_ip, seal, seal_dummy};
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::rng::SeededRng;

/// The most pairs of SAs.
const PAIRS: usize = 8192;
/// The anti-replay window of each.
const WINDOW: u32 = 64;
/// Room before and behind a packet that is sealed.
const ROOM: usize = 2048;

fn main() -> Result<(), io::Error> {
    let mut inbound: Vec<_> = repeat_with(|| InboundSlot::EMPTY).take(PAIRS).collect();
    let mut outbound: Vec<_> = repeat_with(|| OutboundSlot::EMPTY).take(PAIRS).collect();
    let mut windows = vec![0; PAIRS * replay::words_for(WINDOW)];
    let mut links = vec![0; 4 * PAIRS];
    let mut foreign = vec![0; 2 * PAIRS];
    let mut slots: Vec<_> = repeat_with(|| ReassemblySlot::EMPTY).take(2).collect();
    let mut buffer = vec![0; 16_384];
    let memory = SadMemory {
        inbound: &mut inbound,
        outbound: &mut outbound,
        windows: &mut windows,
        links: &mut links,
        foreign: &mut foreign,
    };
    let mut wire = Wire {
        sad: Sad::new(memory),
        rng: SeededRng::new(u64::from(std::process::id())),
        pairs: Vec::new(),
        reassembler: Reassembler::new(&mut slots, &mut buffer),
        identification: 0,
    };
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        match wire.answer(&line?) {
            Ok(answer) => writeln!(out, "ok{answer}")?,
            Err(error) => writeln!(out, "error {error}")?,
        }
        out.flush()?;
    }
    Ok(())
}

struct Wire<'r> {
    sad: Sad<'r, RustCrypto>,
    rng: SeededRng,
    /// By number: what we receive on, what we send on, and their keying material.
    pairs: Vec<([SaId; 2], [Vec<u8>; 2])>,
    reassembler: Reassembler<'r>,
    /// Of the last packet that was fragmented.
    identification: u32,
}

impl Wire<'_> {
    fn answer(&mut self, line: &str) -> Result<String, String> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["suites"] => Ok(suites()),
            ["add", ref words @ ..] => self.add(words),
            ["resume", number, sent, received] => self.resume(number, [received, sent]),
            ["seal", number, packet] => self.seal(number, packet),
            ["dummy", number, len] => self.dummy(number, len),
            ["fragment", packet, mtu] => self.fragment(packet, mtu),
            ["collect", packet] => self.collect(packet),
            ["open", packet] => self.open(packet),
            _ => Err(format!("Request {line}")),
        }
    }

    fn add(&mut self, words: &[&str]) -> Result<String, String> {
        let pair = Pair::parse(words)?;
        let number = self.pairs.len();
        let reserved = || self.sad.reserve(&mut self.rng).ok_or("Full");
        let spi = pair.our_spi.map_or_else(reserved, Ok)?;
        let tag = u32::try_from(number).map_err(bad)?;
        let inbound = SaParams { spi, keymat: &pair.keys[0], tag, ..pair.params() };
        let outbound = SaParams { spi: pair.spi, keymat: &pair.keys[1], ..inbound.clone() };
        let inbound = match pair.our_spi {
            Some(_) => self.sad.install_inbound_as(Instant::ZERO, &inbound, pair.found_by),
            None => self.sad.install_inbound(Instant::ZERO, &inbound),
        };
        let outbound = self.sad.install_outbound(Instant::ZERO, &outbound);
        let ids = [SaId::Inbound(inbound.map_err(bad)?), SaId::Outbound(outbound.map_err(bad)?)];
        self.pairs.push((ids, pair.keys));
        Ok(format!(" {number} {spi}"))
    }

    fn resume(&mut self, number: &str, used: [&str; 2]) -> Result<String, String> {
        let number: usize = number.parse().map_err(bad)?;
        let (ids, keys) = self.pairs.get_mut(number).ok_or("NoPair")?;
        for ((id, keymat), used) in ids.iter_mut().zip(keys).zip(used) {
            let (used, mut edge) = (used.parse().map_err(bad)?, 0);
            while edge < used {
                let ahead = u32::try_from(used - edge).unwrap_or(u32::MAX);
                let mut record = [0; RECORD_LEN];
                let reservation =
                    self.sad.export(Instant::ZERO, *id, keymat, ahead, &mut record).map_err(bad)?;
                edge = reservation.edge();
                match *id {
                    SaId::Inbound(id) => self.sad.remove_inbound(id),
                    SaId::Outbound(id) => self.sad.remove_outbound(id),
                };
                let imported = self.sad.import(Instant::ZERO, Duration::ZERO, &record);
                *id = imported.map_err(bad)?;
            }
            self.sad.stop_exports(*id);
        }
        Ok(String::new())
    }

    fn seal(&mut self, number: &str, packet: &str) -> Result<String, String> {
        let id = self.outbound(number)?;
        let packet = unhex(packet)?;
        let mut buf = vec![0; packet.len() + 2 * ROOM];
        buf[ROOM..ROOM + packet.len()].copy_from_slice(&packet);
        let mut packet = PacketBuf::new(&mut buf, ROOM..ROOM + packet.len()).ok_or("TooLong")?;
        seal(&mut self.sad, Instant::ZERO, id, &mut packet).map_err(bad)?;
        Ok(format!(" {}", hex(packet.payload())))
    }

    fn dummy(&mut self, number: &str, len: &str) -> Result<String, String> {
        let id = self.outbound(number)?;
        let len: usize = len.parse().map_err(bad)?;
        let mut buf = vec![0; len + 2 * ROOM];
        let mut packet = PacketBuf::new(&mut buf, ROOM..ROOM + len).ok_or("TooLong")?;
        seal_dummy(&mut self.sad, Instant::ZERO, id, &mut packet).map_err(bad)?;
        Ok(format!(" {}", hex(packet.payload())))
    }

    fn fragment(&mut self, packet: &str, mtu: &str) -> Result<String, String> {
        let packet = unhex(packet)?;
        self.identification += 1;
        let mut fragments =
            Fragments::new(&packet, mtu.parse().map_err(bad)?, self.identification).map_err(bad)?;
        let mut buf = vec![0; fragments.buffer_len()];
        let mut list = String::new();
        while let Some(len) = fragments.next_into(&mut buf) {
            let _ = write!(list, " {}", hex(&buf[..len.map_err(bad)?]));
        }
        Ok(list)
    }

    fn collect(&mut self, packet: &str) -> Result<String, String> {
        let packet = unhex(packet)?;
        match self.reassembler.accept(Instant::ZERO, &packet).map_err(bad)? {
            Reassembled::NotAFragment => Ok(format!(" {}", hex(&packet))),
            Reassembled::Waiting => Ok(String::new()),
            Reassembled::Complete(packet) => Ok(format!(" {}", hex(packet))),
        }
    }

    fn open(&mut self, packet: &str) -> Result<String, String> {
        let mut packet = unhex(packet)?;
        match inbound_ip(&mut self.sad, Instant::ZERO, &mut packet).map_err(bad)? {
            Inbound::Packet { opened, packet } => {
                Ok(format!(" {} {} {}", opened.tag, opened.sequence, hex(packet)))
            }
            other => Err(format!("NotProtected {other:?}")),
        }
    }

    fn outbound(&self, number: &str) -> Result<OutboundId, String> {
        let number: usize = number.parse().map_err(bad)?;
        match self.pairs.get(number) {
            Some(([_, SaId::Outbound(id)], _)) => Ok(*id),
            _ => Err(format!("NoPair {number}")),
        }
    }
}

/// What `add` is told of a pair of SAs.
struct Pair {
    /// `spi`: the peer's.
    spi: Spi,
    /// `our_spi`, where it is not to be one of our own choice; `found=group` or `found=source` for a multicast SA.
    our_spi: Option<Spi>,
    found_by: FoundBy,
    /// `esp=ENCR:BITS:INTEG`, or `ah=INTEG` with `align=8` for Linux without `align4`.
    protection: Algorithms,
    /// `in` and `out`: keying material.
    keys: [Vec<u8>; 2],
    /// `mode`: `tunnel`, with `pad=LEN` to hide lengths and `df=0` to let outer packets be fragmented, `transport` or `beet`.
    mode: Mode,
    /// `outer=OURS,THEIRS`, and `udp=1` for ports 4500.
    path: Path,
    encapsulation: Encapsulation,
    /// `esn=1`.
    esn: bool,
    /// `inner=OURS,THEIRS`.
    selectors: Selectors,
}

impl Pair {
    fn parse(words: &[&str]) -> Result<Self, String> {
        let words: HashMap<_, _> = words.iter().filter_map(|w| w.split_once('=')).collect();
        let word = |name| words.get(name).copied().ok_or_else(|| format!("Missing {name}"));
        let is_on = |name| words.get(name) == Some(&"1");
        let (ours, theirs) = addresses(word("outer")?)?;
        let inner = addresses(word("inner")?)?;
        let port = if is_on("udp") { 4500 } else { 0 };
        let esp = words.get("esp").map(|numbers| esp(numbers));
        let align =
            if words.get("align") == Some(&"8") { AhAlign::Eight } else { AhAlign::Standard };
        let ah = || Ok(Algorithms::Ah(Integ(word("ah")?.parse().map_err(bad)?), align));
        Ok(Self {
            spi: spi(word("spi")?)?,
            our_spi: words.get("our_spi").copied().map(spi).transpose()?,
            found_by: match words.get("found") {
                None => FoundBy::Spi,
                Some(&"group") => FoundBy::Destination,
                Some(&"source") => FoundBy::DestinationAndSource,
                Some(other) => return Err(format!("Found {other}")),
            },
            protection: esp.unwrap_or_else(ah)?,
            keys: [unhex(word("in")?)?, unhex(word("out")?)?],
            mode: match word("mode")? {
                "tunnel" => Mode::Tunnel(Tunnel {
                    pad_to: words.get("pad").map_or(Ok(0), |len| len.parse()).map_err(bad)?,
                    dont_fragment: match words.get("df") {
                        Some(&"0") => DontFragment::Clear,
                        _ => DontFragment::Copy,
                    },
                    ..Tunnel::DEFAULT
                }),
                "transport" => Mode::TRANSPORT,
                "beet" => Mode::Beet(AddressPair { local: inner.0, remote: inner.1 }),
                other => return Err(format!("Mode {other}")),
            },
            path: Path::new(Endpoint::new(ours, port), Endpoint::new(theirs, port)),
            encapsulation: if is_on("udp") { Encapsulation::Udp } else { Encapsulation::Ip },
            esn: is_on("esn"),
            selectors: Selectors::pair(host(inner.0), host(inner.1)),
        })
    }

    /// Of the outbound SA, without keys.
    fn params(&self) -> SaParams<'_> {
        SaParams {
            spi: self.spi,
            protection: self.protection,
            mode: self.mode,
            keymat: &[],
            path: self.path,
            encapsulation: self.encapsulation,
            esn: self.esn,
            replay_window: WINDOW,
            lifetime: Lifetime::UNLIMITED,
            selectors: &self.selectors,
            tag: 0,
        }
    }
}

fn suites() -> String {
    let mut list = String::new();
    let name = |text: String| text.replace(' ', "");
    for suite in RustCrypto::SUITES {
        let Suite { encr, key_bits, integ } = *suite;
        let keymat = Algorithms::Esp(*suite).keymat_len().unwrap_or_default();
        let name = name(suite.to_string());
        let _ = write!(list, " esp:{}:{key_bits}:{}:{keymat}:{name}", encr.0, integ.0);
    }
    for integ in RustCrypto::INTEGS {
        let keymat = Algorithms::ah(*integ).keymat_len().unwrap_or_default();
        let _ = write!(list, " ah:{}:{keymat}:{}", integ.0, name(integ.to_string()));
    }
    list
}

fn esp(numbers: &str) -> Result<Algorithms, String> {
    let numbers: Vec<u16> = numbers.split(':').flat_map(str::parse).collect();
    let [encr, key_bits, integ] = numbers[..] else { return Err("Suite".into()) };
    Ok(Algorithms::Esp(Suite { encr: Encr(encr), key_bits, integ: Integ(integ) }))
}

fn spi(text: &str) -> Result<Spi, String> {
    let number = u32::from_str_radix(text, 16).map_err(bad)?;
    Spi::new(number).ok_or_else(|| format!("Spi {number}"))
}

fn addresses(text: &str) -> Result<(IpAddr, IpAddr), String> {
    let (ours, theirs) = text.split_once(',').ok_or("Addresses")?;
    Ok((ours.parse().map_err(bad)?, theirs.parse().map_err(bad)?))
}

fn host(address: IpAddr) -> TrafficSelector {
    TrafficSelector::addresses(AddressRange::host(address))
}

fn bad(error: impl Debug) -> String {
    format!("{error:?}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)])));
        text
    })
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err("Hexadecimal".into()) };
    let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let bytes = pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?));
    bytes.collect::<Option<_>>().ok_or_else(|| "Hexadecimal".into())
}
