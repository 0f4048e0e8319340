//! Who the client really is behind proxies: `Forwarded` (RFC 7239) and `X-Forwarded-*`, believed only from the
//! addresses that the operator listed. From anyone else the fields are removed, so an application cannot be fooled by them.

use std::net::IpAddr;

use crate::http::target::check_host;

/// Addresses and networks whose forwarding fields are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxies {
    any: bool,
    networks: Vec<(IpAddr, u8)>,
}

/// An entry of the list is neither "*", an address, nor a network in CIDR notation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an IP address, a network like 10.0.0.0/8, or \"*\"")]
pub struct NotAnAddress(String);

impl TrustedProxies {
    /// Parse a comma-separated list; empty trusts nobody.
    ///
    /// # Errors
    /// The first entry that is not an address, network or "*".
    pub fn parse(list: &str) -> Result<Self, NotAnAddress> {
        let mut trusted = TrustedProxies { any: false, networks: Vec::new() };
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            if entry == "*" {
                trusted.any = true;
            } else {
                trusted.networks.push(parse_network(entry).ok_or_else(|| NotAnAddress(entry.to_owned()))?);
            }
        }
        Ok(trusted)
    }

    /// `None` is a Unix socket peer: whoever may open the socket is trusted.
    pub(crate) fn trusts(&self, peer: Option<IpAddr>) -> bool {
        let Some(peer) = peer else { return true };
        let peer = peer.to_canonical();
        self.any || self.networks.iter().any(|(network, prefix)| in_network(peer, *network, *prefix))
    }
}

fn parse_network(entry: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) =
        entry.split_once('/').map_or((entry, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Some(longest), |prefix| prefix.parse().ok())?;
    (prefix <= longest).then_some((address, prefix))
}

fn in_network(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let prefix = u32::from(prefix);
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            (a.to_bits() ^ n.to_bits()).checked_shr(32 - prefix).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            (a.to_bits() ^ n.to_bits()).checked_shr(128 - prefix).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// What trusted forwarding fields say about a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The address nearest to us that is not a trusted proxy; `None` keeps the peer's.
    pub(crate) client: Option<String>,
    pub(crate) https: bool,
    /// The host that the client asked the outermost proxy for.
    pub(crate) host: Option<String>,
}

/// True for the fields that only a trusted proxy may send.
pub(crate) fn is_forwarding_field(name: &str) -> bool {
    let x_forwarded = name.len() > 12 && name.as_bytes()[..12].eq_ignore_ascii_case(b"x-forwarded-");
    x_forwarded || name.eq_ignore_ascii_case("forwarded") || name.eq_ignore_ascii_case("x-real-ip")
}

/// Read the forwarding fields of a request whose peer is trusted.
pub(crate) fn origin(fields: &[httparse::Header<'_>], trusted: &TrustedProxies) -> Origin {
    let mut chain: Vec<&str> = Vec::new();
    let mut https = None;
    let mut host = None;
    for field in fields {
        let Ok(value) = std::str::from_utf8(field.value) else {
            continue;
        };
        if field.name.eq_ignore_ascii_case("x-forwarded-for") {
            chain.extend(value.split(',').map(str::trim));
        } else if field.name.eq_ignore_ascii_case("x-forwarded-proto") {
            https = value.rsplit(',').next().map(|proto| proto.trim().eq_ignore_ascii_case("https"));
        } else if field.name.eq_ignore_ascii_case("x-forwarded-host") {
            host = value.split(',').next().and_then(valid_host);
        } else if field.name.eq_ignore_ascii_case("forwarded") {
            for element in value.split(',') {
                for pair in element.split(';') {
                    let Some((key, value)) = pair.split_once('=') else {
                        continue;
                    };
                    let value = value.trim().trim_matches('"');
                    if key.trim().eq_ignore_ascii_case("for") {
                        chain.push(value);
                    } else if key.trim().eq_ignore_ascii_case("proto") {
                        https = Some(value.eq_ignore_ascii_case("https"));
                    } else if key.trim().eq_ignore_ascii_case("host") {
                        host = host.or_else(|| valid_host(value));
                    }
                }
            }
        }
    }
    // Read from our side outwards: every hop that we trust vouches for the one before it.
    let mut client = None;
    for hop in chain.iter().rev() {
        let Some(address) = hop_address(hop) else { break };
        client = Some(address.to_string());
        if !trusted.trusts(Some(address)) {
            break;
        }
    }
    Origin { client, https: https.unwrap_or(false), host }
}

fn valid_host(host: &str) -> Option<String> {
    check_host(host.trim().as_bytes()).ok().filter(|host| !host.is_empty()).map(str::to_owned)
}

/// "1.2.3.4", "1.2.3.4:80", "::1", "[::1]:80"
fn hop_address(hop: &str) -> Option<IpAddr> {
    hop.parse()
        .ok()
        .or_else(|| hop.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_field_is_handled(values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..5)) {
            crate::fuzzing::forwarded(&values.join(&b'\n'));
        }

        #[test]
        fn any_list_of_pieces_is_handled(pieces in "(for=|host=|proto=|by|;|,|=|\"|\\[|\\]|::1|1\\.1\\.1\\.1|:80|https| |\n|[a-z]){0,16}") {
            crate::fuzzing::forwarded(pieces.as_bytes());
        }

        /// What a client writes in front of the list cannot change who it is taken for.
        #[test]
        fn the_client_cannot_choose_its_address(lies in "[0-9a-f.:, \\[\\]\"]{0,30}") {
            let value = format!("{lies},203.0.113.9, 10.0.0.1");
            for name in ["X-Forwarded-For", "x-forwarded-for"] {
                let fields = [httparse::Header { name, value: value.as_bytes() }];
                let trusted = TrustedProxies::parse("10.0.0.0/8").unwrap();
                let client = origin(&fields, &trusted).client;
                prop_assert_eq!(client.as_deref(), Some("203.0.113.9"));
            }
        }
    }

    #[test]
    fn trusts_addresses_and_networks() {
        let trusted = TrustedProxies::parse("127.0.0.1, 10.0.0.0/8,::1,fd00::/8").unwrap();
        for (peer, expect) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("127.0.0.2", false),
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("::1", true),
            ("fd12::9", true),
            ("fe80::1", false),
        ] {
            assert_eq!(trusted.trusts(Some(peer.parse().unwrap())), expect, "{peer}");
        }
        assert!(trusted.trusts(None));
        assert!(TrustedProxies::parse("*").unwrap().trusts(Some("8.8.8.8".parse().unwrap())));
        assert!(TrustedProxies::parse("0.0.0.0/0").unwrap().trusts(Some("8.8.8.8".parse().unwrap())));
        assert!(!TrustedProxies::parse("").unwrap().trusts(Some("127.0.0.1".parse().unwrap())));
        assert!(TrustedProxies::parse("localhost").is_err());
        assert!(TrustedProxies::parse("10.0.0.0/33").is_err());
    }

    #[track_caller]
    fn check(fields: &[(&str, &str)], client: Option<&str>, https: bool, host: Option<&str>) {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| httparse::Header { name, value: value.as_bytes() }).collect();
        let trusted = TrustedProxies::parse("127.0.0.1,10.0.0.0/8").unwrap();
        assert_eq!(
            origin(&fields, &trusted),
            Origin { client: client.map(str::to_owned), https, host: host.map(str::to_owned) }
        );
    }

    #[test]
    fn finds_the_nearest_untrusted_hop() {
        check(&[], None, false, None);
        let client = |list, expect| check(&[("X-Forwarded-For", list)], expect, false, None);
        client("1.1.1.1, 2.2.2.2, 10.0.0.1", Some("2.2.2.2"));
        client("10.0.0.2, 10.0.0.1", Some("10.0.0.2"));
        client("1.1.1.1, unknown, 10.0.0.1", Some("10.0.0.1"));
        client("nonsense", None);
        let twice = [("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "2.2.2.2:99")];
        check(&twice, Some("2.2.2.2"), false, None);
    }

    #[test]
    fn finds_scheme_and_host() {
        check(&[("X-Forwarded-Proto", "http, HTTPS")], None, true, None);
        check(&[("X-Forwarded-Host", "shop.example, inner")], None, false, Some("shop.example"));
        check(&[("X-Forwarded-Host", "shop.example/x")], None, false, None);
        let forwarded = "for=1.1.1.1;host=shop.example, for=\"[2001:db8::1]:80\";proto=https;host=inner";
        check(&[("Forwarded", forwarded)], Some("2001:db8::1"), true, Some("shop.example"));
    }
}
