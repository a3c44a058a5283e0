//! A request's head, as the entry copies it into wasm in one string. It may not judge: it only finds what [`Facts`] asks for.

use core::net::{IpAddr, SocketAddr};

use shared::{
    decide::{Certificate, Facts},
    path::target_of_url,
};

use crate::{
    certificate,
    configuration::{ClientAddress, ClientCertificate},
};

/// The head, taken apart. Header names are lower case and values free of line ends, as the Fetch standard has them.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) request_id: &'a str,
    peer: &'a str,
    peer_certificate: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    header_names: String,
    header_bytes: usize,
}

/// Who a request comes from, as the sources tell it that this deployment trusts.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The address, without a port.
    pub(crate) address: String,
    certificate: Option<certificate::Presented>,
}

impl<'a> Head<'a> {
    /// Takes apart `METHOD\nURL\nREQUEST_ID\nADDRESS\nCERTIFICATE` and `\nNAME\nVALUE` for every header; address and certificate are
    /// the connection's.
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut lines = text.split('\n');
        let mut line = || lines.next().unwrap_or_default();
        let (method, url, request_id, peer) = (line(), line(), line(), line());
        let peer_certificate = line();
        let mut headers = Vec::with_capacity(16);
        let mut header_names = String::with_capacity(256);
        let mut header_bytes = 0_usize;
        while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
            if !header_names.is_empty() {
                header_names.push('\n');
            }
            header_names.push_str(name);
            header_bytes = header_bytes.saturating_add(name.len()).saturating_add(value.len());
            headers.push((name, value));
        }
        let mut head = Self {
            method,
            target: "",
            request_id,
            peer,
            peer_certificate,
            headers,
            header_names,
            header_bytes,
        };
        head.target = target_of_url(url, head.header("host").unwrap_or_default()).unwrap_or_default();
        head
    }

    /// The value of a header, by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    /// Who the request comes from.
    pub(crate) fn peer(&self, address: &ClientAddress, certificate: ClientCertificate) -> Peer {
        let certificate = match certificate {
            ClientCertificate::Off => None,
            ClientCertificate::Cloudflare => certificate::of_cloudflare(self.peer_certificate),
            ClientCertificate::Header => self.header("client-cert").and_then(certificate::of_header),
        };
        Peer { address: self.address(address), certificate }
    }

    /// The caller's address, from the source that this deployment trusts; without the port that `peer` brings along.
    fn address(&self, source: &ClientAddress) -> String {
        let text = match source {
            ClientAddress::Header(name) => self.header(name).unwrap_or_default(),
            ClientAddress::Peer => self.peer,
        };
        let address =
            text.parse::<SocketAddr>().map(|socket| socket.ip()).or_else(|_| text.parse::<IpAddr>());
        address.map_or_else(|_| text.to_owned(), |address| address.to_string())
    }

    /// The facts of this head; `peer` is [`Self::peer`].
    pub(crate) fn facts<'b>(&'b self, peer: &'b Peer) -> Facts<'b> {
        Facts {
            method: self.method,
            target: self.target,
            address: &peer.address,
            certificate: peer.certificate.as_ref().map(|certificate| match certificate {
                certificate::Presented::Der(der) => Certificate::Der(der),
                certificate::Presented::Thumbprint(thumbprint) => Certificate::Thumbprint(*thumbprint),
            }),
            header_names: &self.header_names,
            header_bytes: self.header_bytes,
            request_id: self.request_id,
            ..Facts::of_headers(|name| self.header(name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "POST\nhttp://127.0.0.1:8787/a/../b?x=1\nid-1\n[::1]:4711\n\nauthorization\nBearer a.b.c\nhost\n127.0.0.1:8787\ncf-connecting-ip\n192.0.2.7\nx-empty\n";

    #[test]
    fn a_head_is_taken_apart() {
        let head = Head::parse(TEXT);
        let peer = head.peer(&ClientAddress::Peer, ClientCertificate::Off);
        let facts = head.facts(&peer);
        assert_eq!((facts.method, facts.target, facts.request_id), ("POST", "/a/../b?x=1", "id-1"));
        assert_eq!(facts.authorization, Some("Bearer a.b.c"));
        assert_eq!(facts.header_names, "authorization\nhost\ncf-connecting-ip\nx-empty");
        assert_eq!(head.header("x-empty"), Some(""));
        assert_eq!(facts.cookie, None);
    }

    #[test]
    fn the_address_is_the_trusted_sources_and_has_no_port() {
        let head = Head::parse(TEXT);
        assert_eq!(head.address(&ClientAddress::Peer), "::1");
        assert_eq!(head.address(&ClientAddress::Header("cf-connecting-ip".into())), "192.0.2.7");
        assert_eq!(head.address(&ClientAddress::Header("x-other".into())), "");
        let peer =
            |peer: &str| Head::parse(&format!("GET\nhttp://a/\ni\n{peer}")).address(&ClientAddress::Peer);
        assert_eq!(peer("192.0.2.1:80"), "192.0.2.1");
        assert_eq!(peer("192.0.2.1"), "192.0.2.1");
        assert_eq!(peer("unix:/run/edge.sock"), "unix:/run/edge.sock");
    }

    #[test]
    fn the_length_of_names_and_values_is_counted() {
        assert_eq!(Head::parse("GET\nhttp://a/\ni\np\n\nhost\na\nx-b\ncde").header_bytes, 11);
    }

    #[test]
    fn a_head_without_a_host_has_no_target() {
        assert_eq!(Head::parse("GET\nhttp://a/b\ni\n").target, "");
        assert_eq!(Head::parse("").target, "");
    }

    #[test]
    fn a_certificate_is_believed_from_the_source_that_is_trusted_alone() {
        let thumbprint = "ab".repeat(32);
        let text =
            format!("GET\nhttp://a/b\ni\n192.0.2.1\nSUCCESS 0 {thumbprint}\nhost\na\nclient-cert\n:AQID:");
        let head = Head::parse(&text);
        let certificate = |source| {
            let peer = head.peer(&ClientAddress::Peer, source);
            match head.facts(&peer).certificate {
                Some(Certificate::Der(der)) => format!("{der:?}"),
                Some(Certificate::Thumbprint(thumbprint)) => format!("{}", thumbprint[31]),
                None => String::new(),
            }
        };
        assert_eq!(certificate(ClientCertificate::Off), "");
        assert_eq!(certificate(ClientCertificate::Cloudflare), "171");
        assert_eq!(certificate(ClientCertificate::Header), "[1, 2, 3]");
    }
}
