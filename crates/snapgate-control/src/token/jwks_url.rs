//! The URL of a JWK set.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::Uri;

/// An `https` URL of a JWK set, or an `http` URL of this host.
///
/// Its text is shown without the query, which may contain a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JwksUrl(Uri);

/// Why a text is no URL of a JWK set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JwksUrlFault {
    /// No URL with a host.
    #[error("expected a URL like https://issuer.example/.well-known/jwks.json")]
    NotAUrl,
    /// Neither `https` nor `http`.
    #[error("expected a URL that begins with https://")]
    Scheme,
    /// `http` to another host, where keys could be replaced on the way.
    #[error(
        "http is only for the loopback address (http://127.0.0.1, http://[::1], http://localhost); use https"
    )]
    Unprotected,
    /// A user name or password in front of the host.
    #[error("a user name or password in the URL is not supported")]
    Credentials,
}

impl JwksUrl {
    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }

    pub(super) fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

impl FromStr for JwksUrl {
    type Err = JwksUrlFault;

    fn from_str(text: &str) -> Result<Self, JwksUrlFault> {
        let uri: Uri = text.parse().map_err(|_| JwksUrlFault::NotAUrl)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(JwksUrlFault::NotAUrl);
        };
        if authority.as_str().contains('@') {
            return Err(JwksUrlFault::Credentials);
        }
        match scheme {
            "https" if authority.host().is_empty() => Err(JwksUrlFault::NotAUrl),
            "https" => Ok(Self(uri)),
            "http" if is_loopback(authority.host()) => Ok(Self(uri)),
            "http" => Err(JwksUrlFault::Unprotected),
            _ => Err(JwksUrlFault::Scheme),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let without_brackets = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    match without_brackets.unwrap_or(host).parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        // RFC 6761, section 6.3.
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let authority = self.0.authority().map_or("", |a| a.as_str());
        write!(f, "{scheme}://{authority}{}", self.0.path())
    }
}

impl fmt::Debug for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JwksUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_protected_urls_are_accepted() {
        for url in [
            "https://issuer.example/.well-known/jwks.json",
            "https://issuer.example",
            "https://192.0.2.1:8443/jwks",
            "HTTPS://issuer.example/jwks",
            "http://127.0.0.1:8080/jwks",
            "http://127.1.2.3/jwks",
            "http://[::1]:8080/jwks",
            "http://localhost/jwks",
            "http://LOCALHOST:80/jwks",
        ] {
            url.parse::<JwksUrl>()
                .unwrap_or_else(|fault| panic!("{url}: {fault}"));
        }
        for (url, fault) in [
            ("", JwksUrlFault::NotAUrl),
            ("/jwks.json", JwksUrlFault::NotAUrl),
            ("issuer.example", JwksUrlFault::NotAUrl),
            ("https:///jwks", JwksUrlFault::NotAUrl),
            ("https://issuer example/", JwksUrlFault::NotAUrl),
            ("ftp://issuer.example/jwks", JwksUrlFault::Scheme),
            ("http://issuer.example/jwks", JwksUrlFault::Unprotected),
            ("http://192.0.2.1/jwks", JwksUrlFault::Unprotected),
            ("http://[2001:db8::1]/jwks", JwksUrlFault::Unprotected),
            ("http://localhost.example/jwks", JwksUrlFault::Unprotected),
            ("http://127.0.0.1.example/jwks", JwksUrlFault::Unprotected),
            (
                "https://user:word@issuer.example/",
                JwksUrlFault::Credentials,
            ),
            ("http://localhost@192.0.2.1/", JwksUrlFault::Credentials),
        ] {
            assert_eq!(url.parse::<JwksUrl>(), Err(fault), "{url}");
        }
    }

    #[test]
    fn the_query_is_not_shown() {
        let url: JwksUrl = "https://issuer.example:8443/jwks?key=secret"
            .parse()
            .unwrap();
        assert_eq!(url.to_string(), "https://issuer.example:8443/jwks");
        assert_eq!(
            format!("{url:?}"),
            "JwksUrl(https://issuer.example:8443/jwks)"
        );
        assert_eq!(url.uri().query(), Some("key=secret"));
    }
}
