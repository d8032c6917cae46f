//! Narrowing of traffic selectors (RFC 7296 section 2.9).

use core::net::IpAddr;

use ipsec_core::selector::{AddressRange, SelectorList, TrafficSelector};

use crate::wire::TsPayload;

/// What was narrowed away for want of room, and no other reason.
pub(crate) struct Narrowed {
    /// What is left.
    pub(crate) list: SelectorList,
    /// More would have been allowed.
    pub(crate) more: bool,
}

/// What of `asked` is allowed: the intersections of each with each, without those that another one covers.
///
/// RFC 7296 section 2.9: the first selector that is asked for may stand for a packet that waits; if it is allowed, the
/// first of the result contains it. What exceeds the room of the list is narrowed away, and so are selectors of unknown
/// type. Empty: TS_UNACCEPTABLE.
pub(crate) fn narrow_payload(asked: &TsPayload<'_>, allowed: &[TrafficSelector]) -> Narrowed {
    narrow(asked.known(), allowed)
}

/// The same of transport mode, where each of `asked` is one address: `ours` takes its place (RFC 7296 section 2.23.1).
pub(crate) fn narrow_readdressed(
    asked: &TsPayload<'_>,
    ours: IpAddr,
    allowed: &[TrafficSelector],
) -> Narrowed {
    narrow(asked.known().filter_map(|ts| readdress(&ts, ours)), allowed)
}

/// What of `selectors` is about one host.
pub(crate) fn of_host(selectors: &[TrafficSelector], host: IpAddr) -> SelectorList {
    narrow([TrafficSelector::addresses(AddressRange::host(host))].into_iter(), selectors).list
}

/// The address of a selector that has only one.
pub(crate) fn address_of(ts: &TrafficSelector) -> Option<IpAddr> {
    let (start, end) = (ts.addresses.start(), ts.addresses.end());
    (start == end).then_some(start)
}

/// A selector of one address with another of the same family in its place; `None` if it has more than one.
pub(crate) fn readdress(ts: &TrafficSelector, to: IpAddr) -> Option<TrafficSelector> {
    let same_family = address_of(ts)?.is_ipv4() == to.is_ipv4();
    same_family.then_some(TrafficSelector { addresses: AddressRange::host(to), ..*ts })
}

/// All of a list with another address each, as far as they have one.
pub(crate) fn readdressed(list: &SelectorList, to: IpAddr) -> SelectorList {
    let mut all = SelectorList::new();
    for ts in list.iter().filter_map(|ts| readdress(ts, to)) {
        let _ = all.push(ts); // not more than there were
    }
    all
}

/// Whether fragments after the first, in which no port can be seen, pass between these (RFC 7296 section 1.3.1).
pub(crate) fn let_fragments_through(local: &[TrafficSelector], remote: &[TrafficSelector]) -> bool {
    let any = |side: &[TrafficSelector]| side.iter().all(|ts| ts.ports.contains(None));
    any(local) && any(remote)
}

/// Whether a responder may have narrowed `offered` to `answer`: there is something, and each selector is covered by
/// one that was offered (RFC 7296 section 2.9).
pub(crate) fn acceptable(answer: &[TrafficSelector], offered: &[TrafficSelector]) -> bool {
    !answer.is_empty() && answer.iter().all(|ts| offered.iter().any(|o| o.covers(ts)))
}

fn narrow(asked: impl Iterator<Item = TrafficSelector>, allowed: &[TrafficSelector]) -> Narrowed {
    let mut list = SelectorList::new();
    let mut more = false;
    for ts in asked {
        for both in allowed.iter().filter_map(|allowed| ts.intersection(allowed)) {
            if !list.iter().any(|have| have.covers(&both)) {
                list = with(&list, both);
                more |= !list.contains(&both);
            }
        }
    }
    Narrowed { list, more }
}

/// `list` with `new`, which takes the place of the first that it covers. If it covers none it comes last, if there is
/// room.
fn with(list: &SelectorList, new: TrafficSelector) -> SelectorList {
    let mut out = SelectorList::new();
    let mut pending = Some(new);
    for have in list {
        let kept = if new.covers(have) { pending.take() } else { Some(*have) };
        if let Some(kept) = kept {
            let _ = out.push(kept);
        }
    }
    if let Some(new) = pending {
        let _ = out.push(new);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::iana::PayloadType;
    use ipsec_core::selector::{MAX_SELECTORS, PortRange};

    extern crate std;
    use std::vec::Vec;

    fn narrow(asked: &[TrafficSelector], allowed: &[TrafficSelector]) -> SelectorList {
        super::narrow(asked.iter().copied(), allowed).list
    }

    fn net(text: &str) -> TrafficSelector {
        let (address, prefix) = text.split_once('/').unwrap();
        TrafficSelector::network(address.parse().unwrap(), prefix.parse().unwrap()).unwrap()
    }

    fn nets(text: &str) -> Vec<TrafficSelector> {
        text.split_whitespace().map(net).collect()
    }

    fn tcp(ts: TrafficSelector, port: u16) -> TrafficSelector {
        TrafficSelector { protocol: 6, ports: PortRange::single(port), ..ts }
    }

    /// RFC 7296 section 2.9: the result is in both, and begins with the initiator's first choice where it is allowed.
    #[test]
    fn a_table_of_narrowings() {
        for (asked, allowed, expected) in [
            ("0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.0.0/16", "10.0.0.0/8", "10.1.0.0/16"),
            ("10.0.0.0/8", "11.0.0.0/8", ""),
            ("0.0.0.0/0", "fd00::/8", ""),
            ("0.0.0.0/0 ::/0", "fd00::/8 10.0.0.0/8", "10.0.0.0/8 fd00::/8"),
            // The specific packet comes first, then what the policy is about.
            ("10.0.0.5/32 10.0.0.0/24", "10.0.0.0/16", "10.0.0.0/24"),
            ("10.0.0.5/32 0.0.0.0/0", "192.168.0.0/16 10.0.0.0/24", "10.0.0.0/24 192.168.0.0/16"),
            // The specific packet is not allowed, the rest is.
            ("10.9.0.5/32 10.0.0.0/8", "10.1.0.0/16", "10.1.0.0/16"),
            // Duplicates and what is covered go.
            ("10.0.0.0/24 10.0.0.0/24", "10.0.0.0/8 10.0.0.0/8", "10.0.0.0/24"),
            ("10.0.0.0/24 10.0.1.0/24 10.0.0.0/16", "0.0.0.0/0", "10.0.0.0/16"),
            ("0.0.0.0/0", "10.0.0.0/24 10.0.1.0/24", "10.0.0.0/24 10.0.1.0/24"),
        ] {
            let result = narrow(&nets(asked), &nets(allowed));
            assert_eq!(result[..], nets(expected), "{asked} by {allowed}");
        }
        assert!(narrow(&[], &nets("0.0.0.0/0")).is_empty());
        assert!(narrow(&nets("0.0.0.0/0"), &[]).is_empty());
    }

    #[test]
    fn protocol_and_ports_narrow_too() {
        let (wide, narrow_ts) = (net("10.0.0.0/8"), tcp(net("10.0.0.0/24"), 443));
        assert_eq!(narrow(&[wide], &[narrow_ts])[..], [narrow_ts]);
        assert_eq!(narrow(&[narrow_ts], &[wide])[..], [narrow_ts]);
        assert!(narrow(&[tcp(wide, 80)], &[narrow_ts]).is_empty());
    }

    #[test]
    fn what_exceeds_the_room_is_narrowed_away() {
        let asked: Vec<_> =
            (0..9u8).map(|i| TrafficSelector::network([10, i, 0, 0].into(), 16).unwrap()).collect();
        let result = narrow(&asked, &nets("10.0.0.0/8"));
        assert_eq!(result[..], asked[..MAX_SELECTORS]);
        // A wider one that comes late still takes the place of what it covers.
        let late = [asked, nets("10.0.0.0/8")].concat();
        assert_eq!(narrow(&late, &nets("0.0.0.0/0"))[..], nets("10.0.0.0/8"));
    }

    #[test]
    fn every_narrowing_is_acceptable_to_both_sides() {
        let pool =
            nets("0.0.0.0/0 10.0.0.0/8 10.0.0.0/24 10.0.0.7/32 ::/0 fd00::/8 192.168.0.0/16");
        let pick = |bits: u32| -> Vec<TrafficSelector> {
            let chosen = pool.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
            chosen
                .map(|(i, ts)| if bits >> (i + 7) & 1 == 1 { tcp(*ts, 22) } else { *ts })
                .collect()
        };
        let mut random = 1u32;
        let mut next = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random >> 10
        };
        for _ in 0..2_000 {
            let (asked, allowed) = (pick(next()), pick(next()));
            let result = narrow(&asked, &allowed);
            let any = asked.iter().any(|a| allowed.iter().any(|b| a.intersection(b).is_some()));
            assert_eq!(acceptable(&result, &asked), any, "{asked:?} by {allowed:?}");
            assert_eq!(acceptable(&result, &allowed), any);
            let first = asked.first().map(|ts| narrow(&[*ts], &allowed));
            if let Some(first) = first.and_then(|list| list.first().copied()) {
                assert!(result[0].covers(&first), "{asked:?} by {allowed:?}");
            }
        }
    }

    #[test]
    fn answers_outside_the_offer_are_refused() {
        let offered = nets("10.0.0.0/24 10.0.2.0/24");
        assert!(acceptable(&nets("10.0.2.0/25 10.0.0.0/24"), &offered));
        assert!(!acceptable(&nets("10.0.0.0/24 10.0.1.0/24"), &offered));
        assert!(!acceptable(&nets("10.0.0.0/16"), &offered));
        assert!(!acceptable(&[], &offered));
        assert!(acceptable(&[tcp(offered[0], 22)], &offered));
        assert!(!acceptable(&offered, &[tcp(offered[0], 22)]));
    }

    /// A payload may have more selectors than a list, and some of unknown type.
    #[test]
    fn the_selectors_of_a_payload() {
        let mut body = std::vec![9, 0, 0, 0, 9, 0, 0, 8, 1, 2, 3, 4];
        for i in 0..8 {
            body.extend([7, 0, 0, 16, 0, 0, 255, 255, 10, i, 0, 0, 10, i, 255, 255]);
        }
        let payload = TsPayload::parse(PayloadType::TSI, &body).unwrap();
        assert_eq!(payload.list(), None);
        assert_eq!(narrow_payload(&payload, &nets("10.7.1.0/24")).list[..], nets("10.7.1.0/24"));
    }
}
