//! What the two gateways know before they start, all of it constant.

use core::net::{IpAddr, Ipv4Addr};

use ipsec::{
    AddressRange, Child, ChildProposal, ChildRef, Config, GatewayConfig, Group, Identity,
    IkeProposal, Peer, PrfId, Suite, TrafficSelector,
};

#[cfg(feature = "ikev1")]
use ipsec::ipsec_core::crypto::{Encr, Integ};
#[cfg(feature = "ikev1")]
use ipsec::{Phase1Proposal, V1, Versions};

use crate::crypto::Crypto;
use crate::proof::{AUTH_OF_DELHI, AUTH_OF_KOLKATA};

/// Message buffers of each gateway.
pub const BUFFERS: usize = 6;
/// Bytes of each: the largest IKE message.
pub const BUFFER_LEN: usize = 1280;

/// All that one gateway keeps. Room for one tunnel and its replacements while keys are changed.
pub type Memory = ipsec::resources!(
    Crypto;
    ike_sas: 2,
    handshakes: 1,
    exchanges: 2,
    children: 2,
    policies: 1,
    buffers: BUFFERS,
    buffer_len: BUFFER_LEN,
    window: 64,
);

/// Each gateway has one tunnel, and this is it.
pub const TUNNEL: ChildRef = ChildRef { peer: 0, child: 0 };

/// A host in Kolkata's LAN.
pub const HOST_1: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 9);
/// A host in Delhi's LAN.
pub const HOST_2: Ipv4Addr = Ipv4Addr::new(192, 168, 2, 9);

const KOLKATA: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
const DELHI: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const KOLKATA_ID: Identity<'static> = Identity::Fqdn("kolkata.example");
const DELHI_ID: Identity<'static> = Identity::Fqdn("delhi.example");

/// The network of a host.
const fn lan(third: u8) -> TrafficSelector {
    TrafficSelector::addresses(AddressRange::V4 {
        start: Ipv4Addr::new(192, 168, third, 0),
        end: Ipv4Addr::new(192, 168, third, 255),
    })
}

static LAN_1: [TrafficSelector; 1] = [lan(1)];
static LAN_2: [TrafficSelector; 1] = [lan(2)];

// What is not offered is not computed, and what is computed decides how deep the stack goes.
const IKE: &[IkeProposal<'static>] = &[IkeProposal {
    suites: &[Suite::AES_128_GCM],
    prfs: &[PrfId::HMAC_SHA2_256],
    groups: &[Group::X25519],
    additional: if cfg!(feature = "ml-kem") { &[&[Group::ML_KEM_768]] } else { &[] },
}];
#[cfg(feature = "ikev1")]
const VERSIONS: Versions<'static> = Versions::V1(V1 {
    proposals: &[Phase1Proposal {
        suites: &[Suite { encr: Encr::AES_CBC, key_bits: 128, integ: Integ::NONE }],
        prfs: &[PrfId::HMAC_SHA2_256],
        groups: &[Group::P256],
    }],
    ..V1::MAIN
});
const ESP: &[ChildProposal<'static>] =
    &[ChildProposal { suites: &[Suite::AES_128_GCM], groups: &[], esn: false, additional: &[] }];

static CHILDREN_OF_KOLKATA: [Child<'static>; 1] =
    [Child { proposals: ESP, ..Child::new("lan", &LAN_1, &LAN_2) }];
static CHILDREN_OF_DELHI: [Child<'static>; 1] =
    [Child { proposals: ESP, ..Child::new("lan", &LAN_2, &LAN_1) }];

static PEERS_OF_KOLKATA: [Peer<'static>; 1] = [Peer {
    proposals: IKE,
    #[cfg(feature = "ikev1")]
    versions: VERSIONS,
    children: &CHILDREN_OF_KOLKATA,
    auth: AUTH_OF_KOLKATA,
    ..Peer::psk((Some(KOLKATA), KOLKATA_ID), (Some(DELHI), DELHI_ID), &[])
}];
static PEERS_OF_DELHI: [Peer<'static>; 1] = [Peer {
    proposals: IKE,
    #[cfg(feature = "ikev1")]
    versions: VERSIONS,
    children: &CHILDREN_OF_DELHI,
    auth: AUTH_OF_DELHI,
    ..Peer::psk((Some(DELHI), DELHI_ID), (Some(KOLKATA), KOLKATA_ID), &[])
}];

pub static CONFIG_OF_KOLKATA: GatewayConfig<'static> =
    GatewayConfig::new(Config::new(&PEERS_OF_KOLKATA));
pub static CONFIG_OF_DELHI: GatewayConfig<'static> =
    GatewayConfig::new(Config::new(&PEERS_OF_DELHI));
