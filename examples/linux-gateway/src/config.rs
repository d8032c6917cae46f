//! The configuration file: TOML, checked into what the gateway is told. A mistake is shown with file, line and key.
//!
//! What is checked lives as long as the program, so it is leaked once rather than lent around.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use ipsec::ipsec_core::sa::{AhAlign, Protocol};
use ipsec::ipsec_core::selector::{ANY_PROTOCOL, MAX_SELECTORS, SelectorList};
use ipsec::ipsec_core::wire::protocol;
use ipsec::ipsec_ike::config::ModePolicy;
use ipsec::{
    Action, AddressRange, Ask, Child, ChildProposal, Config, Encapsulation, GatewayConfig,
    Identity, IkeProposal, Lifetime, Limits, Mobike, Mode, Peer, Phase1Proposal, Policy, Pool,
    PortRange, Ports, Ppk, Selectors, Suite, TrafficSelector, User, V1, Versions, Xauth,
};
use serde::Deserialize;
use toml::Spanned;

use crate::credentials::{Keyring, Method, Said};
use crate::manual::{ManualSettings, ManualTable, Taken};
use crate::sockets::Kind;
use crate::{distinguished, keywords};

/// Size of the anti-replay windows, in packets.
pub(crate) const WINDOW: u32 = 1024;
/// An SA ends so much later than it should have been replaced, at least.
const GRACE: Duration = Duration::from_secs(60);
/// The same, in bytes: what passes while the replacement is negotiated.
const GRACE_BYTES: u64 = 64 << 20;
/// The same, in packets.
const GRACE_PACKETS: u64 = 64 << 10;
/// The longest lifetime that is understood: a hundred years.
const LONGEST: u64 = 100 * 366 * 86400;

/// A configuration without mistakes.
pub(crate) struct Settings {
    /// Name of the TUN device.
    pub(crate) tun: String,
    /// Its addresses.
    pub(crate) tun_addresses: Vec<IpNet>,
    /// Its MTU.
    pub(crate) mtu: u16,
    /// The control socket.
    pub(crate) control: Option<PathBuf>,
    /// Whether to route the peers' networks into the TUN device.
    pub(crate) routes: bool,
    /// When to begin, for each peer.
    pub(crate) start: Vec<Start>,
    /// Manual keys, in the order of their policies.
    pub(crate) manual: Vec<ManualSettings>,
    /// What IKE_AUTH needs besides.
    pub(crate) keyring: Keyring,
    /// What the library is told.
    pub(crate) gateway: GatewayConfig<'static>,
}

/// When this side begins to set up the tunnels to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Start {
    /// When a packet wants to go through.
    #[default]
    Traffic,
    /// At once, and again whenever they are down.
    Immediately,
    /// When it is told to, by the control socket.
    Never,
}

impl Settings {
    /// Reads and checks a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Mistakes> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&file, &text),
            Err(e) => Err(Mistakes { file, text: String::new(), all: vec![Mistake::whole(e)] }),
        }
    }

    /// Checks a text; `file` is its name.
    fn parse(file: &str, text: &str) -> Result<Self, Mistakes> {
        let mut checker = Checker::default();
        let checked = match toml::from_str::<FileTable>(text) {
            Ok(tables) => checker.settings(tables),
            Err(e) => {
                checker.mistakes.push(Mistake { span: e.span(), message: e.message().into() });
                None
            }
        };
        match checked {
            Some(settings) if checker.mistakes.is_empty() => Ok(settings),
            _ => Err(Mistakes { file: file.into(), text: text.into(), all: checker.mistakes }),
        }
    }

    /// Our addresses, and what we listen for on each, in order and each once.
    pub(crate) fn listening(&self) -> Vec<(IpAddr, Kind, u16)> {
        let ports = self.gateway.ike.ports;
        let mut all = Vec::new();
        for peer in self.gateway.ike.peers {
            let Some(local) = peer.local else { continue };
            all.push((local, Kind::Udp, ports.ike));
            all.push((local, Kind::Udp, ports.nat));
            all.push((local, Kind::Esp, 0));
            let by_ah = |child: &Child<'_>| {
                let suites = child.proposals.iter().flat_map(|proposal| proposal.suites);
                !child.around.is_empty() || suites.into_iter().any(Suite::is_ah)
            };
            if peer.children.iter().any(by_ah) {
                all.push((local, Kind::Ah, 0));
            }
        }
        for manual in &self.manual {
            let local = manual.manual.path.local.address;
            if manual.manual.encapsulation == Encapsulation::Udp {
                all.push((local, Kind::Udp, ports.nat));
            }
            all.extend(manual.protections().map(|sas| match sas.protection.protocol() {
                Protocol::Esp => (local, Kind::Esp, 0),
                Protocol::Ah => (local, Kind::Ah, 0),
            }));
        }
        let icmp: Vec<_> = all.iter().map(|(local, ..)| (*local, Kind::Icmp, 0)).collect();
        all.extend(icmp);
        all.sort();
        all.dedup();
        all
    }

    /// The networks behind the peers, and from where this host talks to them, where that is told.
    pub(crate) fn remote_networks(&self) -> Vec<(AddressRange, Option<IpAddr>)> {
        let children = self.gateway.ike.peers.iter().flat_map(|peer| peer.children);
        let of_children = children.flat_map(|child| {
            let source = match child.mode {
                ModePolicy::Tunnel => None,
                _ => child.local.first().map(|ts| ts.addresses.start()),
            };
            child.remote.iter().map(move |ts| (ts.addresses, source))
        });
        let of_manual = self.manual.iter().flat_map(|manual| {
            // Where packets keep their addresses, those of this host must be right from the beginning.
            let source = match manual.manual.mode {
                Mode::Tunnel(_) => None,
                _ => manual.selectors.local.first().map(|ts| ts.addresses.start()),
            };
            manual.selectors.remote.iter().map(move |ts| (ts.addresses, source))
        });
        of_children.chain(of_manual).collect()
    }
}

/// What is wrong with a file.
#[derive(Debug)]
pub(crate) struct Mistakes {
    file: String,
    text: String,
    all: Vec<Mistake>,
}

#[derive(Debug)]
struct Mistake {
    /// Bytes of the text; `None`: all of it.
    span: Option<Range<usize>>,
    message: String,
}

impl Mistake {
    fn whole(message: impl fmt::Display) -> Self {
        Self { span: None, message: message.to_string() }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Mistake { span, message }) in self.all.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            let place = span.as_ref().and_then(|span| Place::of(&self.text, span));
            match place {
                None => write!(f, "{}: {message}", self.file)?,
                Some(Place { number, column, width, line, key }) => {
                    let file = &self.file;
                    writeln!(f, "{file}:{number}:{column}: {key}: {message}")?;
                    // A secret is not for a log.
                    if !is_secret(&key) {
                        writeln!(f, "{number:5} | {line}")?;
                        write!(f, "{:5} | {:2$}{3:^<4$}", "", "", column - 1, "", width)?;
                    } else {
                        write!(f, "{number:5} | ...")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Where something is, for people.
struct Place<'a> {
    /// Of the line, from 1.
    number: usize,
    /// In characters, from 1.
    column: usize,
    /// In characters, at least 1.
    width: usize,
    line: &'a str,
    /// With the tables it is in.
    key: String,
}

impl<'a> Place<'a> {
    fn of(text: &'a str, span: &Range<usize>) -> Option<Self> {
        let before = text.get(..span.start)?;
        let number = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = text.get(start..)?.lines().next().unwrap_or("");
        let in_line = text.get(start..span.start)?;
        let marked = text.get(span.clone())?.lines().next().unwrap_or("");
        let mut table = "";
        let mut key = "";
        for line in text.lines().take(number) {
            let line = line.trim();
            if let Some(header) = table_header(line) {
                table = header;
                key = "";
            } else if let Some((name, _)) = line.split_once('=')
                && name.trim().chars().all(|c| c.is_alphanumeric() || "_-.".contains(c))
            {
                key = name.trim();
            }
        }
        let key = if table.is_empty() || key.is_empty() {
            format!("{table}{key}")
        } else {
            format!("{table}.{key}")
        };
        let column = in_line.chars().count() + 1;
        Some(Self { number, column, width: marked.chars().count().max(1), line, key })
    }
}

/// The name in the header of a table: `[name]` or `[[name]]`, perhaps with a comment behind it.
fn table_header(line: &str) -> Option<&str> {
    let (name, rest) = line.strip_prefix('[')?.trim_start_matches('[').split_once(']')?;
    let rest = rest.trim_start_matches(']').trim_start();
    let name = name.trim();
    let is_plain = |c: char| c.is_alphanumeric() || "_-. ".contains(c);
    let is_header = !name.is_empty() && name.chars().all(is_plain);
    (is_header && (rest.is_empty() || rest.starts_with('#'))).then_some(name)
}

/// Whether the value of this key is a secret.
fn is_secret(key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or(key);
    matches!(name, "psk" | "ppk" | "key_in" | "key_out" | "ah_key_in" | "ah_key_out")
}

// What a file looks like.

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTable {
    gateway: GatewayTable,
    #[serde(default)]
    peer: Vec<PeerTable>,
    #[serde(default)]
    policy: Vec<PolicyTable>,
    #[serde(default)]
    manual: Vec<ManualTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GatewayTable {
    tun: Option<Spanned<String>>,
    #[serde(default)]
    tun_addresses: Vec<Spanned<String>>,
    mtu: Option<Spanned<u16>>,
    control: Option<PathBuf>,
    routes: Option<bool>,
    port: Option<u16>,
    nat_port: Option<u16>,
    #[serde(default)]
    crl: Vec<Spanned<PathBuf>>,
    #[serde(default)]
    strict_crl: bool,
    #[serde(default)]
    pool: Vec<Spanned<String>>,
    #[serde(default)]
    pool_dns: Vec<IpAddr>,
    #[serde(default)]
    pool_domains: Vec<String>,
    #[serde(default)]
    pool_networks: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerTable {
    name: Spanned<String>,
    local: Spanned<String>,
    remote: Spanned<String>,
    port: Option<u16>,
    nat_port: Option<u16>,
    local_id: Option<Spanned<String>>,
    remote_id: Option<Spanned<String>>,
    #[serde(default)]
    auth: Method,
    remote_auth: Option<Method>,
    psk: Option<Spanned<String>>,
    ppk: Option<Spanned<String>>,
    ppk_id: Option<Spanned<String>>,
    #[serde(default)]
    ppk_required: bool,
    cert: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
    #[serde(default)]
    ca: Vec<Spanned<PathBuf>>,
    remote_key: Option<Spanned<PathBuf>>,
    signature: Option<Spanned<Vec<Spanned<String>>>>,
    remote_signature: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    start: Start,
    proposals: Option<Spanned<Vec<Spanned<String>>>>,
    lifetime: Option<Spanned<String>>,
    dpd: Option<Spanned<String>>,
    retransmit_tries: Option<Spanned<u8>>,
    fragment_size: Option<Spanned<u16>>,
    #[serde(default)]
    encapsulation: Encapsulate,
    ike: Option<Spanned<Ike>>,
    #[serde(default)]
    ask: Vec<AskFor>,
    #[serde(default)]
    assign: bool,
    user: Option<Spanned<String>>,
    password: Option<Spanned<String>>,
    users: Option<Spanned<BTreeMap<String, String>>>,
    #[serde(default)]
    push: bool,
    #[serde(default)]
    mobike: bool,
    #[serde(default)]
    childless: bool,
    reauthenticate_after: Option<Spanned<String>>,
    #[serde(default)]
    child: Vec<ChildTable>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encapsulate {
    #[default]
    Auto,
    Always,
}

/// Which versions of IKE a peer may speak, and how IKEv1 is begun.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Ike {
    #[default]
    V2,
    V1Main,
    V1Aggressive,
    /// Either version; we begin with IKEv2.
    Either,
}

/// What to ask a peer for.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AskFor {
    Ipv4,
    Ipv6,
    Dns,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChildTable {
    name: Spanned<String>,
    local: Spanned<Vec<Spanned<String>>>,
    remote: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    mode: ChildMode,
    proposals: Option<Spanned<Vec<Spanned<String>>>>,
    ah_proposals: Option<Spanned<Vec<Spanned<String>>>>,
    ah_around: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    ah_align8: bool,
    lifetime: Option<Spanned<String>>,
    lifetime_bytes: Option<Spanned<u64>>,
    lifetime_packets: Option<Spanned<u64>>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ChildMode {
    #[default]
    Tunnel,
    Transport,
    PreferTransport,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyTable {
    action: PolicyAction,
    local: Option<Spanned<Vec<Spanned<String>>>>,
    remote: Option<Spanned<Vec<Spanned<String>>>>,
    protocol: Option<Spanned<String>>,
    local_ports: Option<Spanned<String>>,
    remote_ports: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PolicyAction {
    Bypass,
    Discard,
}

/// Collects mistakes, so that all are told at once.
#[derive(Default)]
pub(crate) struct Checker {
    mistakes: Vec<Mistake>,
    keyring: Keyring,
}

impl PeerTable {
    fn version(&self) -> Ike {
        self.ike.as_ref().map_or(Ike::default(), |ike| *ike.get_ref())
    }
}

impl Checker {
    fn settings(&mut self, file: FileTable) -> Option<Settings> {
        let FileTable { gateway, peer, policy, manual } = file;
        let tun = match &gateway.tun {
            Some(name) => self.check(name, device_name),
            None => Some("ipsec0".into()),
        };
        let tun_addresses = self.all(&gateway.tun_addresses, tun_address);
        let mtu = match gateway.mtu {
            // RFC 8200 section 5: IPv6 needs 1280.
            Some(mtu) if *mtu.get_ref() < 1280 => {
                self.mistake(mtu.span(), "at least 1280, which IPv6 needs");
                None
            }
            Some(mtu) => Some(mtu.into_inner()),
            None => Some(1400),
        };
        let start = peer.iter().map(|peer| peer.start).collect();
        let mut names = Vec::new();
        let peers: Vec<Option<Peer<'static>>> =
            peer.into_iter().map(|peer| self.peer(peer, &mut names)).collect();
        let ports = ports(gateway.port, gateway.nat_port);
        let mut taken = Taken::default();
        let manual: Vec<Option<ManualSettings>> = manual
            .iter()
            .map(|table| ManualSettings::new(self, table, ports.nat, &mut taken))
            .collect();
        let before: Vec<Option<Policy>> = policy.iter().map(|policy| self.policy(policy)).collect();

        let peers: Vec<Peer<'static>> = peers.into_iter().collect::<Option<_>>()?;
        let before: Vec<Policy> = before.into_iter().collect::<Option<_>>()?;
        let manual: Vec<ManualSettings> = manual.into_iter().collect::<Option<_>>()?;
        let of_manual: Vec<Selectors> = manual.iter().map(|m| m.selectors.clone()).collect();
        let pool = self.pool(&gateway.pool)?;
        let any = !gateway.pool.is_empty();
        let networks = self.all(&gateway.pool_networks, network);
        let assigns = peers.iter().any(|peer| peer.assigns);
        if let (true, Some(first)) = (any && !assigns, gateway.pool.first()) {
            self.mistake(first.span(), "no peer has `assign = true`");
        }
        let mut ike = Config::new(peers.leak());
        ike.pool = any.then(|| {
            let domains: Vec<&'static str> =
                gateway.pool_domains.into_iter().map(|domain| &*domain.leak()).collect();
            let (dns, domains) = (gateway.pool_dns.leak(), domains.leak());
            let networks = networks.unwrap_or_default().leak();
            &*Box::leak(Box::new(Pool { dns, domains, networks, ..pool }))
        });
        ike.ports = ports;
        let mut keyring = core::mem::take(&mut self.keyring);
        keyring.read_crls(self, &gateway.crl, gateway.strict_crl);
        let mut config = GatewayConfig::new(ike);
        config.before = before.leak();
        config.manual = of_manual.leak();
        Some(Settings {
            tun: tun?,
            tun_addresses: tun_addresses?,
            mtu: mtu?,
            control: gateway.control,
            routes: gateway.routes.unwrap_or(true),
            start,
            manual,
            keyring,
            gateway: config,
        })
    }

    fn peer(&mut self, peer: PeerTable, names: &mut Vec<String>) -> Option<Peer<'static>> {
        let name = self.name(&peer.name, names);
        let local = self.check(&peer.local, |text| {
            text.parse::<IpAddr>().map_err(|_| format!("`{text}` is not one of our IP addresses"))
        });
        let remote = self.check(&peer.remote, |text| match text {
            "any" => Ok(None),
            _ => text.parse::<IpAddr>().map(Some).map_err(|_| {
                format!("`{text}` is neither an IP address nor \"any\" (names are not resolved)")
            }),
        });
        if let (Some(local), Some(Some(remote))) = (local, remote)
            && local.is_ipv4() != remote.is_ipv4()
        {
            self.mistake(peer.remote.span(), "one of local and remote is IPv4, the other IPv6");
        }
        if let (Some(None), Start::Immediately) = (remote, peer.start) {
            self.mistake(
                peer.remote.span(),
                "start = \"immediately\" needs to know where the peer is",
            );
        }
        let xauth = self.xauth(&peer);
        let version = peer.version();
        let ike_at = peer.ike.as_ref().map_or_else(|| peer.name.span(), Spanned::span);
        let mut identity = |text: Option<Spanned<String>>| match text {
            Some(text) if distinguished::is_name(text.get_ref()) => {
                self.check(&text, distinguished::parse).map(|der| Identity::Dn(der.leak()))
            }
            Some(text) => Some(Identity::parse(text.into_inner().leak())),
            None => Some(Identity::Any),
        };
        let (local_id, remote_id) = (identity(peer.local_id), identity(peer.remote_id));
        let (local_id, mut remote_id) = (local_id?, remote_id?);
        if let (Identity::Any, Some(Some(remote))) = (remote_id, remote) {
            remote_id = remote.into();
        }
        let mut keyring = core::mem::take(&mut self.keyring);
        let said = Said {
            at: peer.name.span(),
            auth: peer.auth,
            remote_auth: peer.remote_auth,
            psk: peer.psk.as_ref(),
            cert: peer.cert.as_ref(),
            key: peer.key.as_ref(),
            ca: &peer.ca,
            remote_key: peer.remote_key.as_ref(),
            signature: peer.signature.as_ref(),
            remote_signature: peer.remote_signature.as_ref(),
        };
        let auth = keyring.read(self, &said);
        let ppk = self.ppk(peer.ppk.as_ref(), peer.ppk_id.as_ref(), peer.ppk_required);
        self.keyring = keyring;
        let proposals = match &peer.proposals {
            Some(list) => self.some(list, keywords::ike),
            None => Some(IkeProposal::DEFAULT),
        };
        let lifetime = self.lifetime(peer.lifetime.as_ref(), 4 * 3600);
        let renew = peer.reauthenticate_after.as_ref();
        let renew = renew.map(|after| self.duration(Some(after), 0));
        let dpd = self.duration(peer.dpd.as_ref(), 30);
        if let Some(tries) = &peer.retransmit_tries
            && *tries.get_ref() == 0
        {
            self.mistake(tries.span(), "at least 1: datagrams get lost");
        }
        let mut names = Vec::new();
        let ike = peer.ike.as_ref().map(|ike| *ike.get_ref());
        let only_v1 = matches!(ike, Some(Ike::V1Main | Ike::V1Aggressive));
        let children: Vec<Option<Child<'static>>> =
            peer.child.iter().map(|child| self.child(child, &mut names, only_v1)).collect();

        let children: Vec<Child<'static>> = children.into_iter().collect::<Option<_>>()?;
        let (auth, subject) = auth?;
        let local_id = match (local_id, subject) {
            (Identity::Any, Some(subject)) => subject,
            (said, _) => said,
        };
        let lifetime = lifetime?;
        let mut config = Peer::psk((Some(local?), local_id), (remote?, remote_id), &[]);
        config.auth = auth;
        config.ppk = ppk?;
        config.name = name?;
        config.ports = ports(peer.port, peer.nat_port);
        config.proposals = proposals?;
        config.children = children.leak();
        config.rekey_after = lifetime;
        config.expire_after = lifetime.saturating_add(GRACE.max(lifetime / 8));
        config.liveness = dpd.map(|dpd| (!dpd.is_zero()).then_some(dpd))?;
        if let Some(tries) = peer.retransmit_tries {
            config.retransmission.tries = tries.into_inner();
        }
        if let Some(size) = &peer.fragment_size {
            if (1..256).contains(size.get_ref()) {
                self.mistake(size.span(), "at least 256; or 0, which turns fragmentation off");
            }
            config.fragment_size = Some(*size.get_ref()).filter(|size| *size != 0);
        }
        let asks = |what| peer.ask.contains(&what);
        config.asks =
            Ask { ipv4: asks(AskFor::Ipv4), ipv6: asks(AskFor::Ipv6), dns: asks(AskFor::Dns) };
        config.assigns = peer.assign;
        if let Some(renew) = renew {
            config.reauthenticate_after = renew?;
        }
        config.childless = peer.childless;
        config.mobike = peer.mobike.then_some(&Mobike::ANYWHERE);
        config.force_encapsulation = matches!(peer.encapsulation, Encapsulate::Always);
        let v1 = V1 { xauth: xauth?, push: peer.push, ..V1::MAIN };
        let said = peer.proposals.is_some().then_some(config.proposals);
        config.versions = versions(version, v1, said);
        if config.versions.v1().is_some() && !config.has_v1_method() {
            self.mistake(ike_at, NO_V1_METHOD);
        }
        Some(config)
    }

    /// Whether a user has to prove himself, and on which side he is.
    fn xauth(&mut self, peer: &PeerTable) -> Option<Xauth<'static>> {
        let bytes = |text: &str| &*text.as_bytes().to_vec().leak();
        let (xauth, at) = match (&peer.user, &peer.password, &peer.users) {
            (None, None, None) => return Some(Xauth::None),
            (Some(user), Some(password), None) => {
                let (name, password) = (bytes(user.get_ref()), bytes(password.get_ref()));
                (Xauth::User(User { name, password }), user.span())
            }
            (None, None, Some(users)) => {
                let of = |(name, password): (&String, &String)| User {
                    name: bytes(name),
                    password: bytes(password),
                };
                let all: Vec<_> = users.get_ref().iter().map(of).collect();
                (Xauth::Users(all.leak()), users.span())
            }
            (user, password, users) => {
                let first = [user, password].into_iter().flatten().map(Spanned::span).next();
                let at = first.or(users.as_ref().map(Spanned::span));
                let what = "`user` and `password` are ours, and `users` those that the peer may be";
                self.mistake(at.unwrap_or_default(), what);
                return None;
            }
        };
        if matches!(peer.version(), Ike::V2) {
            self.mistake(at, "users are of IKEv1: `ike` has to say so");
        }
        Some(xauth)
    }

    /// A post-quantum pre-shared key. `Some(None)`: none is wanted.
    fn ppk(
        &mut self,
        key: Option<&Spanned<String>>,
        id: Option<&Spanned<String>>,
        required: bool,
    ) -> Option<Option<Ppk<'static>>> {
        let bytes = |text: &Spanned<String>| text.get_ref().clone().into_bytes().leak();
        match (key, id) {
            (Some(key), Some(_)) if key.get_ref().len() < 32 => {
                self.mistake(key.span(), "at least 32 bytes, as random as can be");
                None
            }
            (Some(key), Some(id)) => Some(Some(Ppk { id: bytes(id), key: bytes(key), required })),
            (Some(text), None) | (None, Some(text)) => {
                self.mistake(text.span(), "`ppk` and `ppk_id` belong together");
                None
            }
            (None, None) => Some(None),
        }
    }

    /// The addresses to give away: at most one range of each family.
    fn pool(&mut self, ranges: &[Spanned<String>]) -> Option<Pool<'static>> {
        let mut pool = Pool { ipv4: None, ipv6: None, dns: &[], domains: &[], networks: &[] };
        for text in ranges {
            let taken = match self.check(text, address_range)? {
                AddressRange::V4 { start, end } => pool.ipv4.replace((start, end)).is_some(),
                AddressRange::V6 { start, end } => pool.ipv6.replace((start, end)).is_some(),
            };
            if taken {
                self.mistake(text.span(), "one range of IPv4 and one of IPv6");
            }
        }
        Some(pool)
    }

    /// `only_v1`: its peer speaks IKEv1 and nothing else.
    fn child(
        &mut self,
        child: &ChildTable,
        names: &mut Vec<String>,
        only_v1: bool,
    ) -> Option<Child<'static>> {
        let name = self.name(&child.name, names);
        let local = self.some(&child.local, selector);
        let remote = self.some(&child.remote, selector);
        for (list, span) in [(local, child.local.span()), (remote, child.remote.span())] {
            if list.is_some_and(|list| list.len() > MAX_SELECTORS) {
                self.mistake(span, &format!("at most {MAX_SELECTORS} networks"));
            }
        }
        let esp = child.proposals.as_ref().map(|list| self.some(list, keywords::child));
        let ah = child.ah_proposals.as_ref().map(|list| self.some(list, keywords::ah));
        let proposals = match (esp, ah) {
            (None, None) => Some(ChildProposal::DEFAULT),
            (Some(one), None) | (None, Some(one)) => one,
            (Some(esp), Some(ah)) => match (esp, ah) {
                (Some(esp), Some(ah)) => Some(&*[esp, ah].concat().leak()),
                _ => None,
            },
        };
        let around = child.ah_around.as_ref().map(|list| {
            if !only_v1 {
                self.mistake(list.span(), "AH around ESP is for IKEv1: ike = \"v1-main\"");
            }
            self.some(list, keywords::integ)
        });
        if let (Some(list), Some(_)) = (&child.ah_proposals, &around) {
            self.mistake(list.span(), "AH alone, or `ah_around` ESP: choose one");
        }
        let time = self.lifetime(child.lifetime.as_ref(), 3600);
        let bytes = self.limit(child.lifetime_bytes.as_ref());
        let packets = self.limit(child.lifetime_packets.as_ref());

        let mut config = Child::new(name?, local?, remote?);
        config.proposals = proposals?;
        if let Some(around) = around {
            config.around = around?;
        }
        config.replay_window = WINDOW;
        config.mode = match child.mode {
            ChildMode::Tunnel => ModePolicy::Tunnel,
            ChildMode::Transport => ModePolicy::RequireTransport,
            ChildMode::PreferTransport => ModePolicy::PreferTransport,
        };
        if child.ah_align8 {
            config.ah_align = AhAlign::Eight;
        }
        config.lifetime = lifetime(time?, bytes?, packets?);
        Some(config)
    }

    fn policy(&mut self, policy: &PolicyTable) -> Option<Policy> {
        let protocol = match &policy.protocol {
            Some(text) => self.check(text, protocol_number),
            None => Some(ANY_PROTOCOL),
        };
        let local = self.side(policy.local.as_ref(), protocol, policy.local_ports.as_ref());
        let remote = self.side(policy.remote.as_ref(), protocol, policy.remote_ports.as_ref());
        let action = match policy.action {
            PolicyAction::Bypass => Action::Bypass,
            PolicyAction::Discard => Action::Discard,
        };
        Some(Policy::new(Selectors { local: local?, remote: remote? }, action))
    }

    /// The selectors of one side of a policy: every address, if no network is named.
    fn side(
        &mut self,
        networks: Option<&Spanned<Vec<Spanned<String>>>>,
        protocol: Option<u8>,
        ports: Option<&Spanned<String>>,
    ) -> Option<SelectorList> {
        let addresses = match networks {
            Some(list) => self.all(list.get_ref(), address_range),
            None => Some(vec![AddressRange::ANY_V4, AddressRange::ANY_V6]),
        };
        let range = match ports {
            Some(text) => self.check(text, port_range),
            None => Some(PortRange::ANY),
        };
        if let (Some(protocol), Some(text)) = (protocol, ports)
            && let Err(e) = has_ports(protocol)
        {
            self.mistake(text.span(), &e);
            return None;
        }
        let mut list = SelectorList::new();
        let ports = range?;
        for addresses in addresses? {
            let selector = TrafficSelector { addresses, protocol: protocol?, ports };
            if list.push(selector).is_err() {
                let span = networks.map_or(0..0, Spanned::span);
                self.mistake(span, &format!("at most {MAX_SELECTORS} networks"));
                return None;
            }
        }
        Some(list)
    }

    /// A name that is easily told in a log and to the control socket, and not used before.
    pub(crate) fn name(
        &mut self,
        name: &Spanned<String>,
        others: &mut Vec<String>,
    ) -> Option<&'static str> {
        let name = self.check(name, |text| {
            let is_plain = |c: char| c.is_alphanumeric() || "_-.".contains(c);
            if text.is_empty() || !text.chars().all(is_plain) {
                Err("a name has letters, digits, `_`, `-` and `.` only".into())
            } else if others.iter().any(|other| other == text) {
                Err(format!("there is another `{text}` already"))
            } else {
                Ok(text.to_owned())
            }
        })?;
        others.push(name.clone());
        Some(name.leak())
    }

    /// How long something lives: not no time at all.
    fn lifetime(&mut self, text: Option<&Spanned<String>>, default_secs: u64) -> Option<Duration> {
        let time = self.duration(text, default_secs)?;
        match text {
            Some(text) if time.is_zero() => {
                self.mistake(text.span(), "at least 1s");
                None
            }
            _ => Some(time),
        }
    }

    /// A limit of bytes or packets; the inner `None` if there is none.
    fn limit(&mut self, limit: Option<&Spanned<u64>>) -> Option<Option<u64>> {
        match limit {
            Some(limit) if *limit.get_ref() == 0 => {
                self.mistake(limit.span(), "at least 1; leave it out for no limit");
                None
            }
            limit => Some(limit.map(|limit| *limit.get_ref())),
        }
    }

    /// Limits at which SAs end that nobody replaces. Seven eighths of them are worth a warning.
    pub(crate) fn hard_lifetime(
        &mut self,
        time: Option<&Spanned<String>>,
        bytes: Option<&Spanned<u64>>,
        packets: Option<&Spanned<u64>>,
    ) -> Option<Lifetime> {
        let (bytes, packets) = (self.limit(bytes), self.limit(packets));
        let time = match time {
            Some(_) => self.lifetime(time, 0)?,
            None => Duration::MAX,
        };
        let soon = |limit: u64| if limit == u64::MAX { limit } else { limit - limit / 8 };
        let [bytes, packets] = [bytes?, packets?].map(|limit| limit.unwrap_or(u64::MAX));
        let soft_time = if time == Duration::MAX { time } else { time - time / 8 };
        Some(Lifetime {
            soft: Limits { time: soft_time, bytes: soon(bytes), packets: soon(packets) },
            hard: Limits { time, bytes, packets },
        })
    }

    fn duration(&mut self, text: Option<&Spanned<String>>, default_secs: u64) -> Option<Duration> {
        match text {
            Some(text) => self.check(text, duration),
            None => Some(Duration::from_secs(default_secs)),
        }
    }

    /// One value.
    pub(crate) fn check<T>(
        &mut self,
        value: &Spanned<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(value.get_ref()).map_err(|e| self.mistake(value.span(), &e)).ok()
    }

    /// A list of values.
    fn all<T>(
        &mut self,
        values: &[Spanned<String>],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let checked: Vec<Option<T>> = values.iter().map(|v| self.check(v, &parse)).collect();
        checked.into_iter().collect()
    }

    /// A list that has something in it.
    pub(crate) fn some<T>(
        &mut self,
        values: &Spanned<Vec<Spanned<String>>>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<&'static [T]> {
        if values.get_ref().is_empty() {
            self.mistake(values.span(), "at least one is needed");
            return None;
        }
        self.all(values.get_ref(), parse).map(|list| &*list.leak())
    }

    pub(crate) fn mistake(&mut self, span: Range<usize>, message: &str) {
        self.mistakes.push(Mistake { span: Some(span), message: message.into() });
    }
}

/// What IKEv1 has, where `auth`, `signature`, `user` and so on ask for something else.
const NO_V1_METHOD: &str = "IKEv1 has no such way to prove who both sides are: both have `psk`, or both sign with the same one of \
    ikev1-rsa and ikev1-ecdsa-p256, -p384, -p521 (`signature` and `remote_signature`); with a user, only `psk` or ikev1-rsa; and \
    where one side is \"user\", the other one signs with ikev1-rsa";

/// The versions of IKE. Of proposals in the file, IKEv1 takes the ciphers in CBC mode, the hash and the group.
fn versions(
    ike: Ike,
    v1: V1<'static>,
    said: Option<&'static [IkeProposal<'static>]>,
) -> Versions<'static> {
    let proposals = said.map_or(Phase1Proposal::DEFAULT, |said| {
        let of = |p: &IkeProposal<'static>| Phase1Proposal {
            suites: p.suites,
            prfs: p.prfs,
            groups: p.groups,
        };
        said.iter().map(of).collect::<Vec<_>>().leak()
    });
    match ike {
        Ike::V2 => Versions::V2,
        Ike::V1Main => Versions::V1(V1 { proposals, ..v1 }),
        Ike::V1Aggressive => Versions::V1(V1 { proposals, mode: V1::AGGRESSIVE.mode, ..v1 }),
        Ike::Either => Versions::Either(V1 { proposals, ..v1 }),
    }
}

fn ports(ike: Option<u16>, nat: Option<u16>) -> Ports {
    let Ports { ike: usual_ike, nat: usual_nat } = Ports::STANDARD;
    Ports { ike: ike.unwrap_or(usual_ike), nat: nat.unwrap_or(usual_nat) }
}

/// An SA is replaced at the limits that the file names, and ends some time later if that did not come about.
fn lifetime(time: Duration, bytes: Option<u64>, packets: Option<u64>) -> Lifetime {
    let later = |limit: u64, grace: u64| limit.saturating_add(grace.max(limit / 8));
    Lifetime {
        soft: Limits {
            time,
            bytes: bytes.unwrap_or(u64::MAX),
            packets: packets.unwrap_or(u64::MAX),
        },
        hard: Limits {
            time: time.saturating_add(GRACE.max(time / 8)),
            bytes: bytes.map_or(u64::MAX, |bytes| later(bytes, GRACE_BYTES)),
            packets: packets.map_or(u64::MAX, |packets| later(packets, GRACE_PACKETS)),
        },
    }
}

fn device_name(text: &str) -> Result<String, String> {
    let is_fine = |c: char| c.is_ascii_graphic() && !"/:%".contains(c);
    if (1..=15).contains(&text.len()) && text.chars().all(is_fine) && text != "." && text != ".." {
        Ok(text.into())
    } else {
        Err("the name of a device has 1 to 15 letters and digits".into())
    }
}

fn tun_address(text: &str) -> Result<IpNet, String> {
    text.parse().map_err(|_| {
        format!("`{text}` is not an address with a prefix length, like 192.168.1.1/24")
    })
}

fn network(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let network = text.parse::<Ipv4Net>();
    let network =
        network.map_err(|_| format!("`{text}` is not an IPv4 network like 10.1.0.0/16"))?;
    Ok((network.network(), network.prefix_len()))
}

/// `30s`, `90m`, `8h`, `7d`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time like 30s, 90m, 8h or 7d");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86400,
        _ => return Err(wrong()),
    };
    let number: u64 = text.strip_suffix(unit).and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
    match number.checked_mul(seconds) {
        Some(seconds) if seconds <= LONGEST => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("`{text}` is too long")),
    }
}

/// Addresses, then what is allowed between them if that is not everything: `192.168.1.0/24[tcp/80]`.
pub(crate) fn selector(text: &str) -> Result<TrafficSelector, String> {
    let Some((addresses, rest)) = text.split_once('[') else {
        return address_range(text).map(TrafficSelector::addresses);
    };
    let wrong = || format!("`{text}` is not like 192.168.1.0/24[tcp/80]");
    let rest = rest.strip_suffix(']').ok_or_else(wrong)?;
    let (protocol, ports) = match rest.split_once('/') {
        Some((protocol, ports)) => (protocol_number(protocol)?, Some(port_range(ports)?)),
        None => (protocol_number(rest)?, None),
    };
    if ports.is_some() {
        has_ports(protocol)?;
    }
    let ports = ports.unwrap_or(PortRange::ANY);
    Ok(TrafficSelector { addresses: address_range(addresses)?, protocol, ports })
}

/// `192.168.1.0/24`, `192.168.1.7`, `192.168.1.7-192.168.1.9`, and the same with IPv6.
fn address_range(text: &str) -> Result<AddressRange, String> {
    let wrong = || format!("`{text}` is not a network like 192.168.1.0/24");
    if let Some((start, end)) = text.split_once('-') {
        let start: IpAddr = start.trim().parse().map_err(|_| wrong())?;
        let end: IpAddr = end.trim().parse().map_err(|_| wrong())?;
        return AddressRange::new(start, end).ok_or_else(|| format!("`{text}` holds no address"));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(AddressRange::host(address));
    }
    let network: IpNet = text.parse().map_err(|_| wrong())?;
    if network.addr() != network.network() {
        return Err(format!("`{text}` has bits beyond its prefix: is {} meant?", network.trunc()));
    }
    AddressRange::network(network.addr(), network.prefix_len()).ok_or_else(wrong)
}

fn protocol_number(text: &str) -> Result<u8, String> {
    match text {
        "any" => Ok(ANY_PROTOCOL),
        "tcp" => Ok(protocol::TCP),
        "udp" => Ok(protocol::UDP),
        "icmp" => Ok(protocol::ICMP),
        "icmpv6" => Ok(protocol::ICMPV6),
        "sctp" => Ok(protocol::SCTP),
        _ => text.parse().map_err(|_| {
            format!("`{text}` is not a protocol: tcp, udp, icmp, icmpv6, sctp, any, or a number")
        }),
    }
}

/// Whether packets of a protocol have ports.
fn has_ports(number: u8) -> Result<(), String> {
    const DCCP: u8 = 33;
    const UDP_LITE: u8 = 136;
    match number {
        protocol::TCP | protocol::UDP | protocol::SCTP | DCCP | UDP_LITE => Ok(()),
        ANY_PROTOCOL => Err("ports need a protocol".into()),
        protocol::ICMP | protocol::ICMPV6 => Err("ICMP has no ports".into()),
        number => Err(format!("protocol {number} has no ports")),
    }
}

/// `80`, or `8000-8099`.
fn port_range(text: &str) -> Result<PortRange, String> {
    let wrong = || format!("`{text}` is not a port, or ports like 8000-8099");
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let start: u16 = start.trim().parse().map_err(|_| wrong())?;
    let end: u16 = end.trim().parse().map_err(|_| wrong())?;
    if start <= end { Ok(PortRange { start, end }) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipsec::Group;
    use ipsec::ipsec_core::crypto::Integ;

    const GOOD: &str = r#"
[gateway]
tun = "ipsec0"
tun_addresses = ["192.168.1.1/24", "fd01::1/64"]
mtu = 1380
control = "/run/gateway.sock"

[[policy]]
action = "bypass"
remote = ["192.168.2.53"]
protocol = "udp"
remote_ports = "53"

[[peer]]
name = "delhi"
local = "10.8.0.1"
remote = "10.8.0.2"
local_id = "kolkata.example"
remote_id = "delhi.example"
psk = "a secret"
start = "immediately"
proposals = ["aes128gcm16-prfsha256-x25519", "aes256-sha256-modp2048"]
lifetime = "4h"
dpd = "0s"
encapsulation = "always"

[[peer.child]]
name = "lan"
local = ["192.168.1.0/24"]
remote = ["192.168.2.0/24", "192.168.3.7[tcp/80]"]
proposals = ["aes128gcm16-x25519"]
lifetime = "1h"
lifetime_packets = 100
"#;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse("gw.toml", text).map_err(|e| e.to_string())
    }

    #[test]
    fn a_whole_file() {
        let settings = parse(GOOD).unwrap();
        assert_eq!((settings.tun.as_str(), settings.mtu, settings.routes), ("ipsec0", 1380, true));
        assert_eq!(settings.start, [Start::Immediately]);
        let ours = "10.8.0.1".parse().unwrap();
        let all = [(Kind::Udp, 500), (Kind::Udp, 4500), (Kind::Esp, 0), (Kind::Icmp, 0)]
            .map(|(kind, port)| (ours, kind, port));
        assert_eq!(settings.listening(), all);
        assert_eq!(settings.remote_networks().len(), 2);
        let [policy] = settings.gateway.before else { panic!("one policy") };
        assert_eq!(policy.action, Action::Bypass);
        assert_eq!(policy.selectors.local.len(), 2);
        assert_eq!(policy.selectors.remote[0].ports, PortRange::single(53));
        let [peer] = settings.gateway.ike.peers else { panic!("one peer") };
        assert_eq!(peer.local_id, Identity::Fqdn("kolkata.example"));
        assert_eq!(peer.proposals[1].groups, [Group::MODP_2048]);
        assert_eq!(peer.rekey_after, Duration::from_secs(4 * 3600));
        assert_eq!((peer.liveness, peer.force_encapsulation), (None, true));
        let [child] = peer.children else { panic!("one child") };
        assert_eq!(child.proposals[0].suites, [Suite::AES_128_GCM]);
        assert_eq!(child.remote[1].to_string(), "192.168.3.7[6/80]");
        assert_eq!(child.lifetime.soft.packets, 100);
        assert!(child.lifetime.hard.packets > 1000 && child.lifetime.hard.bytes == u64::MAX);
    }

    #[test]
    fn what_is_left_out_is_as_usual() {
        let settings = parse(
            r#"
            gateway = {}
            [[peer]]
            name = "delhi"
            local = "fd08::1"
            remote = "fd08::2"
            psk = "a secret"
            "#,
        )
        .unwrap();
        assert_eq!(settings.start, [Start::Traffic]);
        assert_eq!(settings.mtu, 1400);
        let [peer] = settings.gateway.ike.peers else { panic!("one peer") };
        assert_eq!((peer.local_id, peer.ports), (Identity::Any, Ports::STANDARD));
        assert_eq!(peer.remote_id, Identity::from("fd08::2".parse::<IpAddr>().unwrap()));
        assert_eq!(peer.liveness, Some(Duration::from_secs(30)));
        assert_eq!(peer.fragment_size, Some(1280));
        assert!(!peer.force_encapsulation && peer.children.is_empty());
    }

    #[test]
    fn the_size_of_fragments() {
        for (size, means) in [(0, None), (256, Some(256)), (65535, Some(65535))] {
            let text = GOOD.replace("dpd = \"0s\"", &format!("fragment_size = {size}"));
            assert_eq!(parse(&text).unwrap().gateway.ike.peers[0].fragment_size, means);
        }
    }

    /// Line and key of the first mistake, when `good` is replaced.
    fn mistake(good: &str, bad: &str) -> String {
        assert!(GOOD.contains(good), "{good}");
        let text = parse(&GOOD.replacen(good, bad, 1)).map(|_| ()).unwrap_err();
        text.lines().next().unwrap().to_owned()
    }

    #[test]
    fn a_mistake_is_told_with_file_line_and_key() {
        let cases = [
            ("mtu = 1380", "mtu = 1000", "gw.toml:5:7: gateway.mtu: at least 1280"),
            ("mtu = 1380", "mtu = 100000", "gw.toml:5:7: gateway.mtu: invalid value"),
            ("mtu = 1380", "mtu = \"1\"", "gw.toml:5:7: gateway.mtu: invalid type"),
            ("mtu = 1380", "mut = 1380", "gw.toml:5:1: gateway.mut: unknown field `mut`"),
            ("\"fd01::1/64\"", "\"fd01::1\"", "gw.toml:4:36: gateway.tun_addresses: `fd01::1`"),
            ("\"ipsec0\"", "\"a/b\"", "gw.toml:3:7: gateway.tun: "),
            ("\"bypass\"", "\"pass\"", "gw.toml:9:10: policy.action: unknown variant `pass`"),
            ("\"udp\"", "\"upd\"", "gw.toml:11:12: policy.protocol: `upd` is not a protocol"),
            ("protocol = \"udp\"", "", "gw.toml:12:16: policy.remote_ports: ports need a protocol"),
            ("\"10.8.0.2\"", "\"10.8.0.\"", "gw.toml:17:10: peer.remote: `10.8.0.` is neither"),
            ("\"10.8.0.2\"", "\"fd08::2\"", "gw.toml:17:10: peer.remote: one of local and remote"),
            ("\"10.8.0.2\"", "\"any\"", "gw.toml:17:10: peer.remote: start = \"immediately\""),
            (
                "psk = \"a secret\"",
                "",
                "gw.toml:15:8: peer.name: a pre-shared key is needed: `psk`",
            ),
            ("\"a secret\"", "\"\"", "gw.toml:20:7: peer.psk: a pre-shared key"),
            ("-x25519\", \"aes", "\", \"aes", "gw.toml:22:14: peer.proposals: a key exchange"),
            ("\"4h\"", "\"4 hours\"", "gw.toml:23:12: peer.lifetime: `4 hours` is not a time"),
            ("\"0s\"", "\"\"", "gw.toml:24:7: peer.dpd: `` is not a time"),
            (
                "dpd = \"0s\"",
                "retransmit_tries = 0",
                "gw.toml:24:20: peer.retransmit_tries: at least 1",
            ),
            (
                "dpd = \"0s\"",
                "fragment_size = 255",
                "gw.toml:24:17: peer.fragment_size: at least 256; or 0",
            ),
            ("\"lan\"", "\"l/n\"", "gw.toml:28:8: peer.child.name: a name has letters"),
            ("[\"192.168.1.0/24\"]", "[]", "gw.toml:29:9: peer.child.local: at least one"),
            (
                "\"192.168.1.0/24\"]",
                "\"192.168.1.1/24\"]",
                "gw.toml:29:10: peer.child.local: `192.168.1.1/24` has bits",
            ),
            (
                "[tcp/80]",
                "[tcp/80",
                "gw.toml:30:29: peer.child.remote: `192.168.3.7[tcp/80` is not",
            ),
            (
                "\"aes128gcm16-x25519\"]",
                "\"aes1\"]",
                "gw.toml:31:14: peer.child.proposals: unknown algorithm `aes1`",
            ),
            ("[gateway]", "[gateway", "gw.toml:2:"),
            (
                "[[peer.child]]\nname = \"lan\"",
                "[[peer.child]] # \"lan\" and more\nname = \"\"",
                "gw.toml:28:8: peer.child.name: a name has",
            ),
            (
                "lifetime_packets = 100",
                "lifetime_packets = 0",
                "gw.toml:33:20: peer.child.lifetime_packets: at least 1",
            ),
            ("\"1h\"", "\"0s\"", "gw.toml:32:12: peer.child.lifetime: at least 1s"),
            ("[tcp/80]", "[icmp/8]", "gw.toml:30:29: peer.child.remote: ICMP has no ports"),
            ("[tcp/80]", "[gre/8]", "gw.toml:30:29: peer.child.remote: `gre` is not a protocol"),
            ("[tcp/80]", "[47/8]", "gw.toml:30:29: peer.child.remote: protocol 47 has no ports"),
            ("\"udp\"", "\"icmp\"", "gw.toml:12:16: policy.remote_ports: ICMP has no ports"),
        ];
        for (good, bad, said) in cases {
            let text = mistake(good, bad);
            assert!(text.starts_with(said), "{bad}\n  said {text}\n  not  {said}");
        }
    }

    const MANUAL: &str = r#"
[gateway] # with a comment
[[manual]]   # and another
name = "t"
local = "10.0.0.1"
remote = "10.0.0.2"
mode = "tunnel"
esp = "aes128-sha256"
ah = "sha1"
spi_in = 0x1001
spi_out = 0x1002
key_in = "000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f"
key_out = "0x000102030405060708090a0b0c0d0e0f 000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f"
ah_spi_in = 257
ah_spi_out = 258
ah_key_in = "000102030405060708090a0b0c0d0e0f00010203"
ah_key_out = "000102030405060708090a0b0c0d0e0f00010203"
esn = true
local_ts = ["192.168.1.0/24"]
remote_ts = ["192.168.2.0/24[udp/53]"]
replay_window = 128
lifetime_packets = 800
sequence_out = 5
"#;

    #[test]
    fn manual_keys() {
        let settings = parse(MANUAL).unwrap();
        let [manual] = &settings.manual[..] else { panic!("one") };
        let ours = "10.0.0.1".parse().unwrap();
        assert_eq!(
            settings.listening(),
            [Kind::Esp, Kind::Ah, Kind::Icmp].map(|kind| (ours, kind, 0))
        );
        assert_eq!(settings.gateway.manual.len(), 1);
        assert_eq!(manual.selectors.remote[0].to_string(), "192.168.2.0/24[17/53]");
        let m = &manual.manual;
        assert_eq!((m.esn, m.replay_window, m.sequence), (true, 128, 5));
        assert_eq!((m.lifetime.hard.packets, m.lifetime.soft.packets), (800, 700));
        assert_eq!(m.sas.inbound.as_ref().unwrap().keymat.len(), 48);
        assert_eq!(m.around.as_ref().unwrap().outbound.as_ref().unwrap().spi.get(), 258);
        assert!(manual.encrypts() && !manual.needs_fresh_numbers());
        // Nothing of a key is shown.
        assert!(!manual.describe().contains("0a0b0c"));
    }

    #[test]
    fn mistakes_with_manual_keys() {
        let cases = [
            ("name = \"t\"", "nom = \"t\"", "gw.toml:4:1: manual.nom: unknown field `nom`"),
            ("\"10.0.0.2\"", "\"fd00::2\"", "gw.toml:6:10: manual.remote: one of local and remote"),
            ("\"tunnel\"", "\"beet\"", "gw.toml:9:6: manual.ah: AH has no BEET mode"),
            ("\"tunnel\"", "\"transport\"", "gw.toml:19:12: manual.local_ts: in transport mode"),
            (
                "\"aes128-sha256\"",
                "\"aes128\"",
                "gw.toml:8:7: manual.esp: `aes128`: without integrity",
            ),
            (
                "\"aes128-sha256\"",
                "\"aes\u{fc}\"",
                "gw.toml:8:7: manual.esp: `aes\u{fc}`: no encryption",
            ),
            ("\"sha1\"", "\"sha3\"", "gw.toml:9:6: manual.ah: `sha3` is no algorithm of AH"),
            ("ah = \"sha1\"", "", "gw.toml:14:13: manual.ah_spi_in: only where both"),
            ("0x1001", "255", "gw.toml:10:10: manual.spi_in: an SPI is 256 or more"),
            ("0x1001", "0x1_0000_0000", "gw.toml:10:10: manual.spi_in: invalid value"),
            ("spi_in = 0x1001", "", "gw.toml:4:8: manual.name: spi_in and key_in: neither goes"),
            (
                "\"000102",
                "\"0001",
                "gw.toml:12:10: manual.key_in: esp=aes128-sha256 takes 48 bytes (16 of key, 32 of integrity key), here are 47",
            ),
            (
                "\"000102",
                "\"x00102",
                "gw.toml:12:10: manual.key_in: a key has hexadecimal digits only",
            ),
            (
                "replay_window = 128",
                "replay_window = 0",
                "gw.toml:21:17: manual.replay_window: extended",
            ),
            (
                "replay_window = 128",
                "replay_window = 5000",
                "gw.toml:21:17: manual.replay_window: at most",
            ),
            ("esn = true", "udp = true", "gw.toml:18:7: manual.udp: AH does not travel in UDP"),
            (
                "lifetime_packets = 800",
                "lifetime_packets = 0",
                "gw.toml:22:20: manual.lifetime_packets: at least 1",
            ),
            (
                "remote_ts = [\"192.168.2.0/24[udp/53]\"]",
                "",
                "gw.toml:4:8: manual.name: in tunnel mode, remote_ts",
            ),
        ];
        for (good, bad, said) in cases {
            assert!(MANUAL.contains(good), "{good}");
            let text = parse(&MANUAL.replacen(good, bad, 1)).map(|_| ()).unwrap_err();
            assert!(text.starts_with(said), "{bad}\n  said {text}\n  not  {said}");
            assert!(!text.contains("0a0b0c"), "a key is shown: {text}");
        }
    }

    #[test]
    fn two_that_receive_on_one_spi() {
        let (_, table) = MANUAL.split_once("[[manual]]").unwrap();
        let again = table.replace("\"t\"", "\"u\"");
        let text = format!("{MANUAL}\n[[manual]]{again}");
        let said = parse(&text).map(|_| ()).unwrap_err();
        assert!(said.contains("manual.spi_in: `t` receives on it already"), "{said}");
        let text = text.replacen("0x1001", "0x1003", 1).replacen("257", "259", 1);
        assert_eq!(parse(&text).unwrap().manual.len(), 2);
    }

    #[test]
    fn transport_mode_and_ah_can_be_negotiated() {
        let text = GOOD.replace(
            "name = \"lan\"",
            "name = \"lan\"\nmode = \"transport\"\nah_proposals = [\"sha256-esn\"]",
        );
        let settings = parse(&text).unwrap();
        let child = &settings.gateway.ike.peers[0].children[0];
        assert_eq!(child.mode, ModePolicy::RequireTransport);
        assert!(child.proposals[1].suites[0].is_ah() && child.proposals[1].esn);
        assert!(settings.listening().iter().any(|(_, kind, _)| *kind == Kind::Ah));
    }

    #[test]
    fn ah_around_esp_is_for_ikev1() {
        let named = |text: &str, also: &str| {
            let child = format!("name = \"lan\"\nah_around = [\"sha1\", \"sha256\"]{also}");
            text.replace("name = \"lan\"", &child)
        };
        let v1 = GOOD.replace("[[peer]]", "[[peer]]\nike = \"v1-main\"");
        let settings = parse(&named(&v1, "")).unwrap();
        let around = settings.gateway.ike.peers[0].children[0].around;
        assert_eq!(around, [Integ::HMAC_SHA1_96, Integ::HMAC_SHA2_256_128]);
        assert!(settings.listening().iter().any(|(_, kind, _)| *kind == Kind::Ah));
        for (text, says) in [
            (named(GOOD, ""), "peer.child.ah_around: AH around ESP is for IKEv1"),
            (named(&v1, "\nah_proposals = [\"sha1\"]"), "peer.child.ah_proposals: AH alone, or"),
            (
                named(&v1, "").replace("sha256\"]", "sha3\"]"),
                "ah_around: `sha3` is no algorithm of AH",
            ),
        ] {
            let said = parse(&text).map(|_| ()).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once_and_shown() {
        let text = GOOD.replace("\"4h\"", "\"4x\"").replace("\"1h\"", "\"1x\"");
        let said = parse(&text).map(|_| ()).unwrap_err();
        let want = "gw.toml:23:12: peer.lifetime: `4x` is not a time like 30s, 90m, 8h or 7d\n   \
                    23 | lifetime = \"4x\"\n      |            ^^^^\n\
                    gw.toml:32:12: peer.child.lifetime: `1x` is not a time like 30s, 90m, 8h or 7d\n   \
                    32 | lifetime = \"1x\"\n      |            ^^^^";
        assert_eq!(said, want);
    }

    #[test]
    fn the_example_of_the_readme() {
        let readme = include_str!("../README.md");
        let (_, rest) = readme.split_once("```toml\n").unwrap();
        let (example, rest) = rest.split_once("```").unwrap();
        parse(example).unwrap();
        let (_, rest) = rest.split_once("```toml\n").unwrap();
        let (manual, _) = rest.split_once("```").unwrap();
        assert_eq!(parse(&format!("[gateway]\n{manual}")).unwrap().manual.len(), 1);
        // What stands in it as a comment is right as well.
        let with_more: Vec<&str> = example.lines().map(|l| l.trim_start_matches("# ")).collect();
        parse(&with_more.join("\n")).unwrap();
    }

    #[test]
    fn two_of_one_name() {
        let text = format!(
            "{GOOD}\n[[peer.child]]\nname = \"lan\"\nlocal = [\"10.0.0.1\"]\nremote = [\"10.0.0.2\"]\n"
        );
        let said = parse(&text).map(|_| ()).unwrap_err();
        assert!(said.contains("peer.child.name: there is another `lan` already"), "{said}");
    }

    #[test]
    fn a_file_that_is_not_there() {
        let said = Settings::read(Path::new("not-there.toml")).map(|_| ()).unwrap_err().to_string();
        assert!(said.starts_with("not-there.toml: "), "{said}");
    }

    #[test]
    fn times() {
        let secs = |text: &str| duration(text).map(|d| d.as_secs()).ok();
        assert_eq!([secs("0s"), secs("90m"), secs("8h")], [Some(0), Some(5400), Some(28800)]);
        assert_eq!(secs("7d"), Some(7 * 86400));
        for wrong in ["", "s", "5", "-5s", "1.5h", "5ms", "99999999999999d", "ü"] {
            assert_eq!(secs(wrong), None, "{wrong}");
        }
    }
}
