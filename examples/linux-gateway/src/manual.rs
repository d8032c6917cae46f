//! The tables `[[manual]]` of the configuration: SAs whose keys are in the file, without IKE.

use std::net::IpAddr;
use std::ops::Range;

use ipsec::ipsec_core::mode::AddressPair;
use ipsec::ipsec_core::sa::{AhAlign, Protocol};
use ipsec::ipsec_core::selector::{MAX_SELECTORS, SelectorList};
use ipsec::{
    Algorithms, Direction, Encapsulation, Endpoint, Manual, ManualKey, ManualSas, Mode, Path,
    Provider, Selectors, Spi, Suite, TrafficSelector,
};
use ipsec_rustcrypto::RustCrypto;
use ipsec_testkit::keylog::EspKeys;
use serde::Deserialize;
use toml::Spanned;

use crate::config::{self, Checker, WINDOW};
use crate::keywords;

/// One table without mistakes.
pub(crate) struct ManualSettings {
    pub(crate) name: &'static str,
    /// What the library is told.
    pub(crate) manual: Manual<'static>,
    /// What it is for.
    pub(crate) selectors: Selectors,
}

/// What the table looks like.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ManualTable {
    name: Spanned<String>,
    local: Spanned<String>,
    remote: Spanned<String>,
    #[serde(default)]
    mode: ModeName,
    esp: Option<Spanned<String>>,
    ah: Option<Spanned<String>>,
    spi_in: Option<Spanned<u32>>,
    spi_out: Option<Spanned<u32>>,
    key_in: Option<Spanned<String>>,
    key_out: Option<Spanned<String>>,
    ah_spi_in: Option<Spanned<u32>>,
    ah_spi_out: Option<Spanned<u32>>,
    ah_key_in: Option<Spanned<String>>,
    ah_key_out: Option<Spanned<String>>,
    #[serde(default)]
    ah_align8: bool,
    #[serde(default)]
    esn: bool,
    udp: Option<Spanned<bool>>,
    nat_port: Option<Spanned<u16>>,
    local_ts: Option<Spanned<Vec<Spanned<String>>>>,
    remote_ts: Option<Spanned<Vec<Spanned<String>>>>,
    replay_window: Option<Spanned<u32>>,
    lifetime: Option<Spanned<String>>,
    lifetime_bytes: Option<Spanned<u64>>,
    lifetime_packets: Option<Spanned<u64>>,
    #[serde(default)]
    sequence_out: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ModeName {
    #[default]
    Tunnel,
    Transport,
    Beet,
}

/// What other tables have already.
#[derive(Default)]
pub(crate) struct Taken {
    names: Vec<String>,
    /// Who receives on what.
    spis: Vec<(Protocol, u32, &'static str)>,
}

impl Taken {
    /// Notes an SPI to receive on.
    fn receive(
        &mut self,
        checker: &mut Checker,
        sas: &ManualSas<'_>,
        spi: &Spanned<u32>,
        name: &'static str,
    ) -> Option<()> {
        let (protocol, number) = (sas.protection.protocol(), *spi.get_ref());
        let other = self.spis.iter().find(|(p, n, _)| (*p, *n) == (protocol, number));
        if let Some((_, _, other)) = other {
            checker.mistake(spi.span(), &format!("`{other}` receives on it already"));
            return None;
        }
        self.spis.push((protocol, number, name));
        Some(())
    }
}

/// SPIs and keys of one protection.
struct Keys<'t> {
    spi: [&'t Option<Spanned<u32>>; 2],
    key: [&'t Option<Spanned<String>>; 2],
}

impl ManualSettings {
    /// Checks one table.
    pub(crate) fn new(
        checker: &mut Checker,
        table: &ManualTable,
        our_nat_port: u16,
        taken: &mut Taken,
    ) -> Option<Self> {
        let name = checker.name(&table.name, &mut taken.names);
        let whole = table.name.span();
        let address = |text: &str| {
            text.parse::<IpAddr>().map_err(|_| format!("`{text}` is not an IP address"))
        };
        let local = checker.check(&table.local, address);
        let remote = checker.check(&table.remote, address);
        if let (Some(local), Some(remote)) = (local, remote)
            && local.is_ipv4() != remote.is_ipv4()
        {
            checker.mistake(table.remote.span(), "one of local and remote is IPv4, the other IPv6");
            return None;
        }
        let esp = table.esp.as_ref().map(|words| checker.check(words, esp));
        let align = if table.ah_align8 { AhAlign::Eight } else { AhAlign::Standard };
        let ah = table.ah.as_ref().map(|word| {
            checker
                .check(word, |word| keywords::integ(word).map(|integ| Algorithms::Ah(integ, align)))
        });
        let [first, second] = match (esp, ah) {
            (None, None) => {
                checker.mistake(
                    whole,
                    "either esp or ah is needed, for example esp = \"aes128gcm16\"",
                );
                return None;
            }
            (Some(esp), ah) => [Some(esp?), ah.map(|ah| ah.ok_or(())).transpose().ok()?],
            (None, Some(ah)) => [Some(ah?), None],
        };
        let keys =
            Keys { spi: [&table.spi_in, &table.spi_out], key: [&table.key_in, &table.key_out] };
        let more = Keys {
            spi: [&table.ah_spi_in, &table.ah_spi_out],
            key: [&table.ah_key_in, &table.ah_key_out],
        };
        let sas = sas(checker, first?, &keys, ["spi_in", "key_in", "spi_out", "key_out"], &whole);
        let names = ["ah_spi_in", "ah_key_in", "ah_spi_out", "ah_key_out"];
        let around = match second {
            Some(ah) => Some(self::sas(checker, ah, &more, names, &whole)?),
            None => {
                let spis = more.spi.iter().find_map(|spi| spi.as_ref().map(Spanned::span));
                let keys = more.key.iter().find_map(|key| key.as_ref().map(Spanned::span));
                if let Some(span) = spis.or(keys) {
                    let text =
                        "only where both esp and ah are given; for ah alone, spi_in and the like";
                    checker.mistake(span, text);
                    return None;
                }
                None
            }
        };
        let sas = sas?;
        for (sas, spi) in [(Some(&sas), &table.spi_in), (around.as_ref(), &table.ah_spi_in)] {
            if let (Some(sas), Some(spi)) = (sas, spi) {
                taken.receive(checker, sas, spi, name?)?;
            }
        }
        if let Some(around) = &around
            && (around.inbound.is_some() != sas.inbound.is_some()
                || around.outbound.is_some() != sas.outbound.is_some())
        {
            checker.mistake(whole, "ESP and AH need SPIs and keys for the same directions");
            return None;
        }
        let udp = table.udp.as_ref().is_some_and(|udp| *udp.get_ref());
        if let Some(span) = table.udp.as_ref().filter(|_| udp).map(Spanned::span)
            && (table.ah.is_some() || table.esp.is_none())
        {
            checker.mistake(span, "AH does not travel in UDP");
            return None;
        }
        let (local, remote) = (local?, remote?);
        let hosts = (table.mode != ModeName::Tunnel).then_some((local, remote));
        let local_ts =
            side(checker, table.local_ts.as_ref(), hosts.map(|h| h.0), "local_ts", &whole);
        let remote_ts =
            side(checker, table.remote_ts.as_ref(), hosts.map(|h| h.1), "remote_ts", &whole);
        let selectors = Selectors { local: local_ts?, remote: remote_ts? };
        let mode = mode(checker, table, &selectors, (local, remote))?;
        let nat_port = table.nat_port.as_ref().map_or(4500, |port| *port.get_ref());
        if let Some(port) = &table.nat_port
            && (nat_port == 0 || !udp)
        {
            checker.mistake(port.span(), "the peer's UDP port, with udp = true");
            return None;
        }
        let (local_port, remote_port) = if udp { (our_nat_port, nat_port) } else { (0, 0) };
        let replay_window = table.replay_window.as_ref().map_or(64, |window| *window.get_ref());
        if let Some(window) = &table.replay_window {
            if replay_window > WINDOW {
                checker.mistake(window.span(), &format!("at most {WINDOW}"));
                return None;
            }
            // RFC 4303 section 3.4.3
            if replay_window == 0 && table.esn {
                checker.mistake(window.span(), "extended sequence numbers need a window");
                return None;
            }
        }
        let lifetime = checker.hard_lifetime(
            table.lifetime.as_ref(),
            table.lifetime_bytes.as_ref(),
            table.lifetime_packets.as_ref(),
        )?;
        let manual = Manual {
            mode,
            path: Path::new(Endpoint::new(local, local_port), Endpoint::new(remote, remote_port)),
            encapsulation: if udp { Encapsulation::Udp } else { Encapsulation::Ip },
            esn: table.esn,
            replay_window,
            lifetime,
            sequence: table.sequence_out,
            sas,
            around,
        };
        Some(Self { name: name?, manual, selectors })
    }

    /// Every protection: ESP, AH, or both.
    pub(crate) fn protections(&self) -> impl Iterator<Item = &ManualSas<'static>> {
        [Some(&self.manual.sas), self.manual.around.as_ref()].into_iter().flatten()
    }

    /// What a person reads of it.
    pub(crate) fn describe(&self) -> String {
        let Manual { mode, path, encapsulation, esn, .. } = &self.manual;
        let mode = match mode {
            Mode::Tunnel(_) => "tunnel",
            Mode::Transport { .. } => "transport",
            Mode::Beet(_) => "beet",
        };
        let mut text =
            format!("path={} -> {} mode={mode}", path.local.address, path.remote.address);
        for sas in self.protections() {
            let spi = |key: &Option<ManualKey<'_>>| {
                key.as_ref().map_or("none".to_owned(), |key| key.spi.to_string())
            };
            text += &format!(
                " {} spi_in={} spi_out={}",
                words(&sas.protection),
                spi(&sas.inbound),
                spi(&sas.outbound)
            );
        }
        let esn = if *esn { ", ESN" } else { "" };
        let udp = if *encapsulation == Encapsulation::Udp { "udp" } else { "none" };
        format!("{text}{esn} encapsulation={udp}")
    }

    /// Whether packets are encrypted, and not only authenticated.
    pub(crate) fn encrypts(&self) -> bool {
        self.protections().any(|sas| match sas.protection {
            Algorithms::Esp(suite) => suite.encrypts(),
            Algorithms::Ah(..) => false,
        })
    }

    /// Whether everything is lost if the same keys are used again from the first packet on: the algorithm has a nonce.
    pub(crate) fn needs_fresh_numbers(&self) -> bool {
        use ipsec::ipsec_core::crypto::Iv;
        self.protections().any(|sas| match sas.protection {
            Algorithms::Esp(suite) => {
                suite.shape().is_some_and(|s| matches!(s.iv, Iv::Counter | Iv::Implicit))
            }
            Algorithms::Ah(integ, _) => integ.is_gmac(),
        })
    }

    /// The lines of `esp_sa` that Wireshark wants, one for each SA of ESP. `None` stands for what it cannot decrypt.
    pub(crate) fn key_lines(&self) -> Vec<Option<String>> {
        let Path { local, remote } = self.manual.path;
        let mut lines = Vec::new();
        for sas in self.protections() {
            let Algorithms::Esp(suite) = sas.protection else { continue };
            let ways = [
                (Direction::Inbound, &sas.inbound, remote.address, local.address),
                (Direction::Outbound, &sas.outbound, local.address, remote.address),
            ];
            for (_, key, source, destination) in ways {
                let (Some(key), Some(shape)) = (key, suite.shape()) else { continue };
                let at = shape.key_len + shape.salt_len;
                let Some((encr_key, integ_key)) = key.keymat.split_at_checked(at) else { continue };
                let spi = key.spi.get();
                let keys = EspKeys { source, destination, spi, suite, encr_key, integ_key };
                lines.push(keys.line());
            }
        }
        lines
    }
}

/// The words for a protection, as in the file.
fn words(protection: &Algorithms) -> String {
    match protection {
        Algorithms::Esp(suite) => format!("esp={}", suite.keyword()),
        Algorithms::Ah(integ, _) => format!("ah={}", integ.keyword().unwrap_or("?")),
    }
}

/// A suite of ESP.
fn esp(words: &str) -> Result<Algorithms, String> {
    let suite: Suite = words.parse().map_err(|e| format!("`{words}`: {e}"))?;
    match RustCrypto::has_suite(suite) {
        true => Ok(Algorithms::Esp(suite)),
        false => Err(format!("`{words}` is not supported")),
    }
}

fn sas(
    checker: &mut Checker,
    protection: Algorithms,
    keys: &Keys<'_>,
    names: [&str; 4],
    whole: &Range<usize>,
) -> Option<ManualSas<'static>> {
    let [spi_in, key_in, spi_out, key_out] = names;
    let inbound = one(checker, &protection, keys.spi[0], keys.key[0], [spi_in, key_in], whole)?;
    let outbound = one(checker, &protection, keys.spi[1], keys.key[1], [spi_out, key_out], whole)?;
    if inbound.is_none() && outbound.is_none() {
        let text =
            format!("{spi_in} and {key_in}, {spi_out} and {key_out}, or all four are needed");
        checker.mistake(whole.clone(), &text);
        return None;
    }
    Some(ManualSas { protection, inbound, outbound })
}

/// SPI and key of one direction; the inner `None` if both are left out.
fn one(
    checker: &mut Checker,
    protection: &Algorithms,
    spi: &Option<Spanned<u32>>,
    key: &Option<Spanned<String>>,
    [spi_name, key_name]: [&str; 2],
    whole: &Range<usize>,
) -> Option<Option<ManualKey<'static>>> {
    let (spi, key) = match (spi, key) {
        (None, None) => return Some(None),
        (Some(spi), Some(key)) => (spi, key),
        (Some(_), None) | (None, Some(_)) => {
            let text = format!("{spi_name} and {key_name}: neither goes without the other");
            checker.mistake(whole.clone(), &text);
            return None;
        }
    };
    let number = Spi::new(*spi.get_ref());
    if number.is_none() {
        checker.mistake(spi.span(), "an SPI is 256 or more: those below are reserved");
    }
    let needed = protection.keymat_len().unwrap_or(0);
    let keymat = hex(key.get_ref()).and_then(|bytes| match bytes.len() {
        len if len == needed => Ok(bytes),
        len => Err(format!(
            "{} takes {needed} bytes ({}), here are {len}",
            words(protection),
            parts(protection)
        )),
    });
    let keymat = keymat.map_err(|e| checker.mistake(key.span(), &e)).ok();
    Some(Some(ManualKey { spi: number?, keymat: keymat?.leak() }))
}

/// What keying material is made of.
fn parts(protection: &Algorithms) -> String {
    let (protocol, sizes) = match protection {
        Algorithms::Esp(suite) => {
            let sizes = suite.shape().map_or([0; 3], |s| [s.key_len, s.salt_len, s.integ_key_len]);
            (Protocol::Esp, sizes)
        }
        Algorithms::Ah(integ, _) => {
            (Protocol::Ah, [0, integ.salt_len(), integ.key_len().unwrap_or(0)])
        }
    };
    let named: Vec<String> = match protocol {
        Protocol::Esp => sizes.iter().zip(["key", "salt", "integrity key"]).collect::<Vec<_>>(),
        Protocol::Ah => vec![(&sizes[2], "key"), (&sizes[1], "salt")],
    }
    .into_iter()
    .filter(|(size, _)| **size != 0)
    .map(|(size, name)| format!("{size} of {name}"))
    .collect();
    named.join(", ")
}

/// Hexadecimal digits, perhaps with `0x` before and `:` or spaces between them.
fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let digits = digits.chars().filter(|c| !matches!(c, ':' | ' ' | '_'));
    // What is wrong is not told: it is a key.
    let digits: Option<Vec<u32>> = digits.map(|c| c.to_digit(16)).collect();
    let digits = digits.ok_or("a key has hexadecimal digits only")?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("a key has two hexadecimal digits for each byte".into());
    }
    pairs
        .iter()
        .map(|[high, low]| u8::try_from(high * 16 + low).map_err(|e| e.to_string()))
        .collect()
}

/// The selectors of one side: those of the file, or else `host`.
fn side(
    checker: &mut Checker,
    texts: Option<&Spanned<Vec<Spanned<String>>>>,
    host: Option<IpAddr>,
    name: &str,
    whole: &Range<usize>,
) -> Option<SelectorList> {
    let all = match (texts, host) {
        (Some(texts), _) => checker.some(texts, config::selector)?,
        (None, Some(host)) => &[TrafficSelector::addresses(ipsec::AddressRange::host(host))][..],
        (None, None) => {
            checker.mistake(whole.clone(), &format!("in tunnel mode, {name} is needed"));
            return None;
        }
    };
    let mut list = SelectorList::new();
    if all.iter().try_for_each(|ts| list.push(*ts)).is_err() {
        let span = texts.map_or(whole.clone(), Spanned::span);
        checker.mistake(span, &format!("at most {MAX_SELECTORS} networks"));
        return None;
    }
    Some(list)
}

fn mode(
    checker: &mut Checker,
    table: &ManualTable,
    selectors: &Selectors,
    (local, remote): (IpAddr, IpAddr),
) -> Option<Mode> {
    let sides = [
        (&selectors.local, table.local_ts.as_ref(), local),
        (&selectors.remote, table.remote_ts.as_ref(), remote),
    ];
    match table.mode {
        ModeName::Tunnel => Some(Mode::TUNNEL),
        ModeName::Transport => {
            for (list, texts, outer) in sides {
                let is_outer = |ts: &TrafficSelector| {
                    ts.addresses.start() == outer && ts.addresses.end() == outer
                };
                if !list.iter().all(is_outer) {
                    let text = format!("in transport mode, packets keep their addresses: {outer}");
                    checker.mistake(texts.map_or(table.name.span(), Spanned::span), &text);
                    return None;
                }
            }
            Some(Mode::TRANSPORT)
        }
        ModeName::Beet => {
            if let Some(ah) = &table.ah {
                checker.mistake(ah.span(), "AH has no BEET mode");
                return None;
            }
            let mut inner = [local, remote];
            for ((list, texts, _), inner) in sides.into_iter().zip(&mut inner) {
                *inner = list.first()?.addresses.start();
                let is_inner = |ts: &TrafficSelector| {
                    ts.addresses.start() == *inner && ts.addresses.end() == *inner
                };
                if !list.iter().all(is_inner) {
                    let text = "in BEET mode, there is one address on each side";
                    checker.mistake(texts.map_or(table.name.span(), Spanned::span), text);
                    return None;
                }
            }
            let [local, remote] = inner;
            Some(Mode::Beet(AddressPair { local, remote }))
        }
    }
}
