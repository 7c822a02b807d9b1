//! The name that a request was sent to.
//!
//! A web site can have its name point at this machine once a browser has loaded its page (DNS
//! rebinding). For the browser everything that the page then sends goes to its own site, so that it may
//! add any header and read the answer. What it cannot change is `Host`: that is the site's name.

use std::net::IpAddr;

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;

/// Whether a request was sent to an address or to `localhost`: no site is called so. Both places
/// that name a host have to say it, because the request line wins over the header where it names
/// one (RFC 9112, 3.2.2).
pub(super) fn is_no_site(asked: &Parts) -> bool {
    let mut hosts = asked.headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let host = host.to_str().ok().and_then(|host| host.parse().ok());
    host.is_some_and(|host| is_address_or_localhost(&host))
        && asked.uri.authority().is_none_or(is_address_or_localhost)
}

fn is_address_or_localhost(authority: &Authority) -> bool {
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost") || bare.unwrap_or(host).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn sent(target: &str, hosts: &[&str]) -> bool {
        let mut request = Request::builder().uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        is_no_site(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn only_addresses_and_localhost_are_no_sites() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:10190",
            "[::1]:10190",
            "[::1]",
            "localhost",
            "LocalHost:10190",
            "10.0.0.7:80",
        ] {
            assert!(sent("/x", &[host]), "{host}");
        }
        for host in [
            "",
            "gate",
            "gate.example.org:10190",
            "127.0.0.1.example.org",
            "localhost.example.org",
            "127.0.0.1 ",
            "example.org@127.0.0.1@example.org",
            "1",
            "\u{7f}",
        ] {
            let valid = http::HeaderValue::from_str(host).is_ok();
            assert!(!valid || !sent("/x", &[host]), "{host:?}");
        }
        assert!(!sent("/x", &[]));
        assert!(!sent("/x", &["127.0.0.1", "127.0.0.1"]));
        assert!(!sent("http://site.example.org/x", &["127.0.0.1"]));
        assert!(sent("http://127.0.0.1:10190/x", &["127.0.0.1"]));
    }
}
