//! What clients are told about this SNAP.

use std::net::{IpAddr, SocketAddr};

use hyper::Uri;
use hyper::http::uri::Scheme;

use super::settings::ControlSettings;
use super::start_error::StartError;

/// Checks a URL that clients are to be told, as a server does when it starts.
///
/// # Errors
///
/// Clients cannot use it.
pub fn check_control_plane_url(url: &str) -> Result<(), StartError> {
    PublicUrl::parse(url).map(drop)
}

/// An IP family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    /// Returns the family of an address. An IPv4 address mapped into IPv6, which is how a socket for both families
    /// shows it, is one of IPv4.
    pub(super) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        }
    }
}

/// Addresses and URLs that clients are told.
#[derive(Debug)]
pub(super) struct PublicAddresses {
    data_plane: Vec<SocketAddr>,
    /// Not empty.
    urls: Vec<PublicUrl>,
}

#[derive(Debug)]
struct PublicUrl {
    text: String,
    /// Family of a host that is an IP address.
    family: Option<Family>,
}

impl PublicAddresses {
    /// Checks the settings. `bound` are the addresses that the server listens on.
    pub(super) fn new(
        settings: &ControlSettings,
        bound: &[SocketAddr],
    ) -> Result<Self, StartError> {
        let urls = if settings.urls.is_empty() {
            let scheme = match settings.tls {
                Some(_) => "https",
                None => "http",
            };
            urls_of(bound, scheme)?
        } else {
            let urls = settings.urls.iter();
            urls.map(|url| PublicUrl::parse(url))
                .collect::<Result<_, _>>()?
        };
        Ok(Self {
            data_plane: check_data_plane(&settings.data_plane)?,
            urls,
        })
    }

    /// Returns the address of the data plane for clients of a family.
    pub(super) fn data_plane(&self, family: Family) -> Option<SocketAddr> {
        let mut addresses = self.data_plane.iter().copied();
        addresses.find(|address| Family::of(address.ip()) == family)
    }

    /// Returns the URL of the control plane for clients of a family.
    pub(super) fn url(&self, family: Family) -> &str {
        let find = |wanted| self.urls.iter().find(|url| url.family == wanted);
        find(Some(family))
            .or_else(|| find(None))
            .or(self.urls.first())
            .map_or("", |url| &url.text)
    }
}

fn check_data_plane(addresses: &[SocketAddr]) -> Result<Vec<SocketAddr>, StartError> {
    let refuse = |text| Err(StartError::Setting(text));
    if addresses.is_empty() {
        return refuse("the control plane needs a public address of the data plane".to_owned());
    }
    let mut checked: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        let ip = address.ip().to_canonical();
        if ip.is_unspecified() || ip.is_multicast() || address.port() == 0 {
            return refuse(format!(
                "clients cannot be told the data plane address {address}: use an IP address and a port that they reach"
            ));
        }
        let family = Family::of(ip);
        if let Some(other) = checked
            .iter()
            .find(|other| Family::of(other.ip()) == family)
        {
            return refuse(format!(
                "there are two {} addresses of the data plane, {other} and {address}: clients are told one of each \
                 IP family",
                family.name()
            ));
        }
        checked.push(SocketAddr::new(ip, address.port()));
    }
    Ok(checked)
}

fn urls_of(bound: &[SocketAddr], scheme: &str) -> Result<Vec<PublicUrl>, StartError> {
    let url = |address: &SocketAddr| {
        if address.ip().to_canonical().is_unspecified() {
            return Err(StartError::Setting(format!(
                "the control plane listens on {address}, which clients cannot be told: give its URL"
            )));
        }
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        PublicUrl::parse(&format!("{scheme}://{address}/"))
    };
    bound.iter().map(url).collect()
}

impl PublicUrl {
    fn parse(text: &str) -> Result<Self, StartError> {
        let refuse = |reason: &str| {
            let text = format!("{text} is not a URL of a control plane: {reason}");
            StartError::Setting(text)
        };
        let uri = text
            .parse::<Uri>()
            .map_err(|error| refuse(&error.to_string()))?;
        let scheme = uri
            .scheme()
            .filter(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme));
        let scheme = scheme.ok_or_else(|| refuse("it must begin with http:// or https://"))?;
        let authority = uri.authority().ok_or_else(|| refuse("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("it must not contain a user name"));
        }
        // Clients replace the path by that of an RPC.
        if uri.path() != "/" || uri.query().is_some() {
            return Err(refuse(
                "it must not have a path or a query, since clients ignore them",
            ));
        }
        let host = authority.host();
        let literal = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let ip: Option<IpAddr> = literal.unwrap_or(host).parse().ok();
        if host.is_empty() || ip.is_some_and(|ip| ip.to_canonical().is_unspecified()) {
            return Err(refuse("clients cannot reach this host"));
        }
        Ok(Self {
            text: format!("{scheme}://{authority}/"),
            family: ip.map(Family::of),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn public(
        data_plane: &[&str],
        urls: &[&str],
        bound: &[&str],
    ) -> Result<PublicAddresses, StartError> {
        let mut settings =
            ControlSettings::new(Vec::new(), addresses(data_plane), [1; 32], vec![1]);
        settings.urls = urls.iter().map(|&url| url.to_owned()).collect();
        PublicAddresses::new(&settings, &addresses(bound))
    }

    #[test]
    fn a_client_is_told_an_address_of_its_family() {
        let both = public(
            &["[2001:db8::1]:51820", "192.0.2.1:51820"],
            &["http://a"],
            &[],
        )
        .unwrap();
        let told = |family| both.data_plane(family).unwrap().to_string();
        assert_eq!(told(Family::Ipv4), "192.0.2.1:51820");
        assert_eq!(told(Family::Ipv6), "[2001:db8::1]:51820");
        let one = public(&["192.0.2.1:51820"], &["http://a"], &[]).unwrap();
        assert_eq!(one.data_plane(Family::Ipv6), None);
    }

    #[test]
    fn a_mapped_address_is_one_of_ipv4() {
        assert_eq!(
            Family::of("::ffff:192.0.2.7".parse().unwrap()),
            Family::Ipv4
        );
        let mapped = public(&["[::ffff:192.0.2.1]:1"], &["http://a"], &[]).unwrap();
        let address = mapped.data_plane(Family::Ipv4).unwrap();
        assert_eq!(address.to_string(), "192.0.2.1:1");
    }

    #[test]
    fn addresses_that_clients_cannot_use_are_refused() {
        for data_plane in [
            &[][..],
            &["0.0.0.0:51820"],
            &["[::]:51820"],
            &["[::ffff:0.0.0.0]:51820"],
            &["192.0.2.1:0"],
            &["224.0.0.1:51820"],
            &["192.0.2.1:1", "192.0.2.2:1"],
        ] {
            assert!(
                public(data_plane, &["http://a"], &[]).is_err(),
                "{data_plane:?}"
            );
        }
    }

    #[test]
    fn a_client_is_told_a_url_that_it_can_reach() {
        let told = |urls: &[&str], family| {
            let public = public(&["192.0.2.1:1"], urls, &[]).unwrap();
            public.url(family).to_owned()
        };
        let both = [
            "http://name:1",
            "http://192.0.2.1:1",
            "https://[2001:db8::1]",
        ];
        assert_eq!(told(&both, Family::Ipv4), "http://192.0.2.1:1/");
        assert_eq!(told(&both, Family::Ipv6), "https://[2001:db8::1]/");
        assert_eq!(told(&both[..2], Family::Ipv6), "http://name:1/");
        assert_eq!(told(&both[1..2], Family::Ipv6), "http://192.0.2.1:1/");
    }

    #[test]
    fn urls_are_made_from_listen_addresses_that_clients_can_reach() {
        let bound = ["192.0.2.1:80", "[2001:db8::1]:80"];
        let made = public(&["192.0.2.1:1"], &[], &bound).unwrap();
        assert_eq!(made.url(Family::Ipv4), "http://192.0.2.1:80/");
        assert_eq!(made.url(Family::Ipv6), "http://[2001:db8::1]:80/");
        for wildcard in ["0.0.0.0:80", "[::]:80"] {
            let error = public(&["192.0.2.1:1"], &[], &[wildcard]).unwrap_err();
            assert!(error.to_string().contains("give its URL"), "{error}");
        }
    }

    #[test]
    fn urls_that_clients_cannot_use_are_refused() {
        for url in [
            "",
            "name",
            "//name",
            "/path",
            "ftp://name",
            "http://",
            "http://0.0.0.0:80",
            "http://[::]",
            "http://name/path",
            "http://name/?query",
            "http://user@name",
        ] {
            assert!(public(&["192.0.2.1:1"], &[url], &[]).is_err(), "{url}");
        }
    }
}
