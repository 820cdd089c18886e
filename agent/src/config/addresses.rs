//! Address policy: which peers contexts may come from and go to.

use std::net::IpAddr;

use baton_common::policy::{AddressKey, EGRESS, INGRESS, KEY_BITS, mapped};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Deserialize;

/// Destinations that are always allowed: loopback, private, link-local and
/// carrier-grade NAT addresses, and IPv6's unique local ones.
const INTERNAL: [&str; 9] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

/// What a workload may take from and send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    egress: Vec<IpNet>,
    ingress: Vec<IpNet>,
}

impl Addresses {
    /// Internal destinations and `egress`; sources `ingress`, or all.
    pub(crate) fn new(egress: &[IpNet], ingress: &[IpNet]) -> Self {
        let internal = INTERNAL.iter().filter_map(|text| text.parse().ok());
        let everything = [IpNet::V6(Ipv6Net::default())];
        Self {
            egress: internal.chain(egress.iter().copied()).collect(),
            ingress: if ingress.is_empty() { everything.to_vec() } else { ingress.to_vec() },
        }
    }

    /// Just these destinations and sources.
    pub(crate) fn only(egress: Vec<IpNet>, ingress: Vec<IpNet>) -> Self {
        Self { egress, ingress }
    }

    /// The destinations.
    pub(crate) fn egress(&self) -> &[IpNet] {
        &self.egress
    }

    /// The sources.
    pub(crate) fn ingress(&self) -> &[IpNet] {
        &self.ingress
    }

    /// The keys of the kernel side's address table for workload `index`, with
    /// the length of each prefix in bits.
    pub(crate) fn keys(&self, index: u16) -> Vec<(u32, AddressKey)> {
        let key = |direction: u16, net: &IpNet| {
            let (bits, address) = match net {
                IpNet::V4(net) => (96 + u32::from(net.prefix_len()), mapped(net.network().octets())),
                IpNet::V6(net) => (u32::from(net.prefix_len()), net.network().octets()),
            };
            (KEY_BITS + bits, AddressKey { workload: index, direction, address })
        };
        let egress = self.egress.iter().map(|net| key(EGRESS, net));
        egress.chain(self.ingress.iter().map(|net| key(INGRESS, net))).collect()
    }
}

/// Whether all of `inner` lies in one of `outer`. IPv4 ranges lie in IPv6's mapped ones.
pub(crate) fn lies_in(inner: &IpNet, outer: &[IpNet]) -> bool {
    let mapped = |net: &IpNet| match net {
        IpNet::V4(net) => Ipv6Net::new(net.network().to_ipv6_mapped(), 96 + net.prefix_len()).unwrap_or_default(),
        IpNet::V6(net) => *net,
    };
    outer.iter().any(|outer| mapped(outer).contains(&mapped(inner)))
}

/// An address of the kernel side as users write it.
pub(crate) fn readable(address: [u8; 16]) -> IpAddr {
    IpAddr::from(address).to_canonical()
}

/// An address range in the configuration.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(crate) struct Range(pub(crate) IpNet);

impl TryFrom<String> for Range {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse(&text).map(Self)
    }
}

/// Reads an address range: an address with or without a prefix length.
pub(crate) fn parse(text: &str) -> Result<IpNet, String> {
    let net: IpNet = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("`{text}` is not an address range: write one as 10.0.0.0/8 or fd00::/8"))?;
    Ok(match net {
        IpNet::V4(net) => IpNet::V4(Ipv4Net::trunc(&net)),
        IpNet::V6(net) => IpNet::V6(Ipv6Net::trunc(&net)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_ranges_are_mapped() {
        let addresses =
            Addresses::new(&["203.0.113.7/24".parse().expect("legal")], &["10.0.0.0/8".parse().expect("legal")]);
        let keys = addresses.keys(3);
        let (bits, key) = keys[INTERNAL.len()];
        assert_eq!((bits, key.workload, key.direction), (KEY_BITS + 120, 3, EGRESS));
        assert_eq!(readable(key.address), "203.0.113.0".parse::<IpAddr>().expect("legal"));
        assert_eq!(keys.last().map(|(bits, key)| (*bits, key.direction)), Some((KEY_BITS + 104, INGRESS)));
    }

    #[test]
    fn all_sources_are_allowed_by_default() {
        let keys = Addresses::new(&[], &[]).keys(0);
        assert_eq!(keys.len(), INTERNAL.len() + 1);
        assert_eq!(keys.last().map(|(bits, _)| *bits), Some(KEY_BITS));
    }

    #[test]
    fn ranges_lie_in_others() {
        let net = |text: &str| parse(text).expect("legal");
        assert!(lies_in(&net("10.1.0.0/16"), &[net("192.168.0.0/16"), net("10.0.0.0/8")]));
        assert!(lies_in(&net("10.1.0.0/16"), &[net("::/0")]), "all addresses are written as ::/0");
        assert!(!lies_in(&net("10.0.0.0/7"), &[net("10.0.0.0/8")]));
        assert!(!lies_in(&net("::/0"), &[net("0.0.0.0/0")]));
    }

    #[test]
    fn malformed_ranges_are_refused() {
        for bad in ["", "10.0.0.0/33", "10.0.0", "fd00::/129", "example"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse("10.1.2.3").map(|net| net.to_string()), Ok("10.1.2.3/32".to_owned()));
        assert_eq!(parse("10.1.2.3/8").map(|net| net.to_string()), Ok("10.0.0.0/8".to_owned()));
    }
}
