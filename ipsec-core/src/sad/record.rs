//! An SA as bytes: what [`Sad::export`](super::Sad::export) writes and [`Sad::import`](super::Sad::import) reads.
//!
//! Numbers are big-endian. The fields follow each other in the order of [`write()`]; what they leave of the record is
//! zero, and the last four bytes are a CRC-32 (that of Ethernet) of all before, which finds a torn or worn-out record. It
//! is no protection against people.

use core::net::IpAddr;
use core::time::Duration;

use crate::bytes::{Reader, Writer};
use crate::crypto::suite::MAX_KEYMAT;
use crate::crypto::{Encr, Integ, Suite};
use crate::lifetime::{Lifetime, Limits};
use crate::mode::{AddressPair, DontFragment, Dscp, EcnIngress, Mode, Tunnel};
use crate::path::{Endpoint, Path};
use crate::sa::{AhAlign, Algorithms, Encapsulation, SaParams, Spi};
use crate::selector::{
    AddressRange, MAX_SELECTORS, PortRange, SelectorList, Selectors, TrafficSelector,
};
use crate::seq;

/// Bytes of a record.
pub const RECORD_LEN: usize =
    HEAD + MODE + 2 * ENDPOINT + STATE + 1 + MAX_KEYMAT + 2 * (1 + MAX_SELECTORS * SELECTOR) + CRC;

const HEAD: usize = 22;
const MODE: usize = 1 + 1 + 2 * ADDRESS;
const ADDRESS: usize = 17;
const ENDPOINT: usize = ADDRESS + 2;
const STATE: usize = 4 + 9 * 8;
const SELECTOR: usize = 2 * ADDRESS + 5;
const CRC: usize = 4;

/// What a record begins with. The last byte is the version of the format.
const MAGIC: [u8; 4] = *b"SA\r\x01";

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RecordError {
    /// They have not the length of one.
    Length,
    /// They do not begin as one of this version does.
    Version,
    /// The checksum is wrong: it was changed, or not written as a whole.
    Checksum,
    /// A field has a value that it cannot have.
    Field,
}

impl core::fmt::Display for RecordError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Length => "not the length of a record of a security association",
            Self::Version => "not a record of a security association, or of another version",
            Self::Checksum => "the record's checksum is wrong",
            Self::Field => "a field of the record has a value that it cannot have",
        })
    }
}

impl core::error::Error for RecordError {}

/// Everything that is known of an SA but for what is in its [`SaParams`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// Whether we receive on it.
    pub(super) inbound: bool,
    /// [`FoundBy`](super::FoundBy) as a slot has it. 0 for an outbound SA.
    pub(super) found_by: u8,
    /// All sequence numbers up to and including this one count as used.
    pub(super) edge: u64,
    /// Packets so far.
    pub(super) packets: u64,
    /// Bytes so far.
    pub(super) bytes: u64,
}

/// Writes a record. `None` if the keying material is longer than any.
pub(super) fn write(
    out: &mut [u8; RECORD_LEN],
    state: &State,
    params: &SaParams<'_>,
) -> Option<()> {
    out.fill(0);
    let (body, crc) = out.split_last_chunk_mut::<CRC>()?;
    let mut w = Writer::new(body);
    write_head(&mut w, state, params)?;
    write_mode(&mut w, &params.mode)?;
    for end in [params.path.local, params.path.remote] {
        write_address(&mut w, end.address)?;
        w.u16(end.port)?;
    }
    w.u32(params.replay_window)?;
    let Lifetime { soft, hard } = params.lifetime;
    for number in [
        state.edge,
        state.packets,
        state.bytes,
        soft.packets,
        soft.bytes,
        micros(soft.time),
        hard.packets,
        hard.bytes,
        micros(hard.time),
    ] {
        w.u64(number)?;
    }
    w.u8(u8::try_from(params.keymat.len()).ok()?)?;
    w.bytes(params.keymat)?;
    for list in [&params.selectors.local, &params.selectors.remote] {
        w.u8(u8::try_from(list.len()).ok()?)?;
        list.iter().try_for_each(|selector| write_selector(&mut w, selector))?;
    }
    *crc = crc32(body).to_be_bytes();
    Some(())
}

/// Reads a record. Its selectors go where `selectors` are.
pub(super) fn read<'a>(
    record: &'a [u8],
    selectors: &'a mut Selectors,
) -> Result<(State, SaParams<'a>), RecordError> {
    let record: &[u8; RECORD_LEN] = record.try_into().map_err(|_| RecordError::Length)?;
    let (body, crc) = record.split_last_chunk::<CRC>().ok_or(RecordError::Length)?;
    if !record.starts_with(&MAGIC) {
        return Err(RecordError::Version);
    }
    if crc32(body).to_be_bytes() != *crc {
        return Err(RecordError::Checksum);
    }
    read_body(body, selectors).ok_or(RecordError::Field)
}

fn read_body<'a>(body: &'a [u8], selectors: &'a mut Selectors) -> Option<(State, SaParams<'a>)> {
    let mut r = Reader::new(body);
    let head = read_head(&mut r)?;
    let mode = read_mode(&mut r)?;
    let path = Path::new(read_endpoint(&mut r)?, read_endpoint(&mut r)?);
    let replay_window = r.u32()?;
    let (edge, packets, bytes) = (r.u64()?, r.u64()?, r.u64()?);
    let soft = read_limits(&mut r)?;
    let hard = read_limits(&mut r)?;
    let keymat_len = r.u8()?;
    let keymat = r.take(keymat_len.into())?;
    *selectors = Selectors { local: read_list(&mut r)?, remote: read_list(&mut r)? };
    let windowless = head.inbound && replay_window == 0;
    if windowless || !head.esn && edge > seq::MAX_SHORT || r.rest().iter().any(|b| *b != 0) {
        return None;
    }
    let Head { inbound, found_by, esn, encapsulation, protection, spi, tag } = head;
    let params = SaParams {
        spi,
        protection,
        mode,
        keymat,
        path,
        encapsulation,
        esn,
        replay_window,
        lifetime: Lifetime { soft, hard },
        selectors,
        tag,
    };
    Some((State { inbound, found_by, edge, packets, bytes }, params))
}

struct Head {
    inbound: bool,
    found_by: u8,
    esn: bool,
    encapsulation: Encapsulation,
    protection: Algorithms,
    spi: Spi,
    tag: u32,
}

fn write_head(w: &mut Writer<'_>, state: &State, params: &SaParams<'_>) -> Option<()> {
    w.bytes(&MAGIC)?;
    w.u8(u8::from(state.inbound))?;
    w.u8(state.found_by)?;
    let udp = params.encapsulation == Encapsulation::Udp;
    w.u8(u8::from(params.esn) | u8::from(udp) << 1)?;
    match params.protection {
        Algorithms::Esp(suite) => {
            w.u8(0)?;
            w.u16(suite.encr.0)?;
            w.u16(suite.key_bits)?;
            w.u16(suite.integ.0)?;
        }
        Algorithms::Ah(integ, align) => {
            w.u8(if align == AhAlign::Standard { 1 } else { 2 })?;
            w.u32(0)?;
            w.u16(integ.0)?;
        }
    }
    w.u32(params.spi.get())?;
    w.u32(params.tag)
}

fn read_head(r: &mut Reader<'_>) -> Option<Head> {
    r.array::<4>()?;
    let inbound = read_bool(r)?;
    let found_by = r.u8()?;
    let flags = r.u8()?;
    let (kind, encr, key_bits, integ) = (r.u8()?, Encr(r.u16()?), r.u16()?, Integ(r.u16()?));
    let protection = match kind {
        0 => Algorithms::Esp(Suite { encr, key_bits, integ }),
        1 => Algorithms::Ah(integ, AhAlign::Standard),
        2 => Algorithms::Ah(integ, AhAlign::Eight),
        _ => return None,
    };
    let (spi, tag) = (Spi::new(r.u32()?)?, r.u32()?);
    let encapsulation = if flags & 2 == 0 { Encapsulation::Ip } else { Encapsulation::Udp };
    let known = flags < 4 && found_by <= if inbound { 3 } else { 0 };
    let esn = flags & 1 != 0;
    known.then_some(Head { inbound, found_by, esn, encapsulation, protection, spi, tag })
}

/// A mode has a kind, a byte of its own, and room for two addresses.
fn write_mode(w: &mut Writer<'_>, mode: &Mode) -> Option<()> {
    let addresses = match mode {
        Mode::Tunnel(tunnel) => {
            w.u8(0)?;
            return write_tunnel(w, tunnel);
        }
        Mode::Transport { original: None } => {
            w.u8(1)?;
            return w.bytes(&[0; 1 + 2 * ADDRESS]);
        }
        Mode::Transport { original: Some(pair) } => {
            w.u8(2)?;
            pair
        }
        Mode::Beet(pair) => {
            w.u8(3)?;
            pair
        }
    };
    w.u8(0)?;
    write_address(w, addresses.local)?;
    write_address(w, addresses.remote)
}

fn write_tunnel(w: &mut Writer<'_>, tunnel: &Tunnel) -> Option<()> {
    let (sets, dscp) = match tunnel.dscp {
        Dscp::Copy => (false, 0),
        Dscp::Set(dscp) => (true, dscp),
    };
    let dont_fragment = match tunnel.dont_fragment {
        DontFragment::Copy => 0,
        DontFragment::Set => 1,
        DontFragment::Clear => 2,
    };
    let compatible = tunnel.ecn == EcnIngress::Compatibility;
    let bits = [sets, tunnel.copy_dscp_in, compatible, tunnel.copy_flow_label];
    let bits = bits.iter().rev().fold(0, |all, bit| all << 1 | u8::from(*bit));
    w.u8(bits | dont_fragment << 4)?;
    w.u8(dscp)?;
    w.u8(tunnel.hop_limit)?;
    w.u16(tunnel.pad_to)?;
    w.bytes(&[0; 2 * ADDRESS - 4])
}

fn read_mode(r: &mut Reader<'_>) -> Option<Mode> {
    let (kind, bits) = (r.u8()?, r.u8()?);
    let mut body = Reader::new(r.take(2 * ADDRESS)?);
    let pair = |r: &mut Reader<'_>| {
        Some(AddressPair { local: read_address(r)?, remote: read_address(r)? })
    };
    Some(match kind {
        0 => {
            let (dscp, hop_limit, pad_to) = (body.u8()?, body.u8()?, body.u16()?);
            Mode::Tunnel(Tunnel {
                dscp: if bits & 1 == 0 { Dscp::Copy } else { Dscp::Set(dscp) },
                copy_dscp_in: bits & 2 != 0,
                ecn: if bits & 4 == 0 { EcnIngress::Normal } else { EcnIngress::Compatibility },
                copy_flow_label: bits & 8 != 0,
                dont_fragment: match bits >> 4 {
                    0 => DontFragment::Copy,
                    1 => DontFragment::Set,
                    2 => DontFragment::Clear,
                    _ => return None,
                },
                hop_limit,
                pad_to,
            })
        }
        1 => Mode::TRANSPORT,
        2 => Mode::Transport { original: Some(pair(&mut body)?) },
        3 => Mode::Beet(pair(&mut body)?),
        _ => return None,
    })
}

fn write_selector(w: &mut Writer<'_>, selector: &TrafficSelector) -> Option<()> {
    write_address(w, selector.addresses.start())?;
    write_address(w, selector.addresses.end())?;
    w.u8(selector.protocol)?;
    w.u16(selector.ports.start)?;
    w.u16(selector.ports.end)
}

fn read_list(r: &mut Reader<'_>) -> Option<SelectorList> {
    let mut list = SelectorList::new();
    for _ in 0..r.u8()? {
        let addresses = AddressRange::new(read_address(r)?, read_address(r)?)?;
        let protocol = r.u8()?;
        let ports = PortRange { start: r.u16()?, end: r.u16()? };
        if ports.start > ports.end && !ports.is_opaque() {
            return None;
        }
        list.push(TrafficSelector { addresses, protocol, ports }).ok()?;
    }
    Some(list)
}

fn read_limits(r: &mut Reader<'_>) -> Option<Limits> {
    let (packets, bytes) = (r.u64()?, r.u64()?);
    let time = match r.u64()? {
        u64::MAX => Duration::MAX,
        time => Duration::from_micros(time),
    };
    Some(Limits { time, bytes, packets })
}

fn read_endpoint(r: &mut Reader<'_>) -> Option<Endpoint> {
    Some(Endpoint::new(read_address(r)?, r.u16()?))
}

fn write_address(w: &mut Writer<'_>, address: IpAddr) -> Option<()> {
    match address {
        IpAddr::V4(a) => {
            w.u8(4)?;
            w.bytes(&a.octets())?;
            w.bytes(&[0; 12])
        }
        IpAddr::V6(a) => {
            w.u8(6)?;
            w.bytes(&a.octets())
        }
    }
}

fn read_address(r: &mut Reader<'_>) -> Option<IpAddr> {
    match (r.u8()?, r.array::<16>()?) {
        (4, [a, b, c, d, ..]) => Some(IpAddr::from([a, b, c, d])),
        (6, octets) => Some(IpAddr::from(octets)),
        _ => None,
    }
}

fn read_bool(r: &mut Reader<'_>) -> Option<bool> {
    match r.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// [`u64::MAX`] is no limit.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// CRC-32 as Ethernet has it, bit by bit: it is seldom computed.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| crc >> 1 ^ 0xedb8_8320 & 0u32.wrapping_sub(crc & 1);
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_ethernet() {
        // The check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
