//! Whom a project trusts: pages of other origins, issuers of tokens, client certificates.

use std::collections::HashSet;

use shared::base64url;
use shared::policy::{CertificateIdentity, Cors};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use super::super::{CertificateDeclaration, IssuerDeclaration, file};
use super::{DEFAULT_SCOPE_CLAIM, Rules};
use crate::egress::is_on_loopback;

/// In one list, at most.
const ORIGINS: usize = 100;
const HEADERS: usize = 100;
const AUDIENCES: usize = 16;

impl Rules {
    pub(super) fn cors(&mut self, cors: file::Cors) -> Cors {
        let any = cors.origins.iter().any(|origin| origin == "*");
        if any && cors.origins.len() > 1 {
            self.at("origins", |rules| rules.fault("\"*\" stands alone: it is every origin already"));
        }
        if any && cors.credentials {
            self.at("credentials", |rules| {
                rules.fault(
                    "cookies cannot come along from every origin: name the origins, or leave credentials out",
                );
            });
        }
        if cors.origins.is_empty() {
            self.at("origins", |rules| rules.fault("name at least one origin, or leave cors out"));
        }
        let max_age_seconds = self.max_age(cors.max_age);
        Cors {
            origins: self.origins(cors.origins, true),
            methods: self.cors_methods(cors.methods),
            headers: self.field_names("headers", cors.headers),
            expose: self.field_names("expose", cors.expose),
            credentials: cors.credentials,
            max_age_seconds,
        }
    }

    /// Origins as browsers send them (RFC 6454, 6.1): no path, no default port, nothing that could be read in two ways.
    pub(super) fn origins(&mut self, origins: Vec<String>, may_be_any: bool) -> Vec<String> {
        self.at_most("origins", origins.len(), ORIGINS);
        let mut seen = HashSet::new();
        self.each("origins", origins, |rules, origin| {
            let is_exact = !origin.contains('*')
                && Url::parse(&origin).is_ok_and(|url| {
                    matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == origin
                });
            let is_any = may_be_any && origin == "*";
            if !is_exact && !is_any {
                rules.fault(format!(
                    "{origin:?} is no origin: write scheme://host, in lower case, with a port only where it is not the \
                     scheme's own, and nothing after it, such as https://app.example.com"
                ));
            }
            if !seen.insert(origin.clone()) {
                rules.fault(format!("{origin:?} is there twice"));
            }
            origin
        })
    }

    fn cors_methods(&mut self, methods: Vec<String>) -> Vec<String> {
        self.each("methods", methods, |rules, method| {
            if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
                rules.fault("a method is upper-case letters, such as PUT");
            }
            method
        })
    }

    /// Names of headers, in lower case.
    fn field_names(&mut self, member: &'static str, names: Vec<String>) -> Vec<String> {
        self.at_most(member, names.len(), HEADERS);
        self.each(member, names, |rules, name| {
            let name = name.to_ascii_lowercase();
            let is_token = !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&byte));
            if !is_token {
                rules.fault(format!(
                    "{name:?} is no name of a header; write each one out, such as content-type"
                ));
            } else if matches!(name.as_str(), "set-cookie" | "set-cookie2") {
                rules.fault(format!("{name} is never shown to a page"));
            }
            name
        })
    }

    pub(super) fn issuer(&mut self, issuer: file::Issuer, seen: &mut HashSet<String>) -> IssuerDeclaration {
        self.at("issuer", |rules| {
            if let Err(why) = secure_url(&issuer.name, false) {
                rules.fault(format!("an issuer {why} (RFC 8414, 2); it is compared byte by byte"));
            }
            if !seen.insert(issuer.name.clone()) {
                rules.fault(format!("{:?} is there twice", issuer.name));
            }
        });
        self.at("jwks_uri", |rules| {
            if let Err(why) = secure_url(&issuer.jwks_uri, true) {
                rules.fault(format!("the address of an issuer's keys {why}"));
            }
        });
        if !(1..=AUDIENCES).contains(&issuer.audiences.len()) {
            self.at("audiences", |rules| {
                rules.fault(format!(
                    "name 1 to {AUDIENCES} audiences: a token for somebody else is not for us"
                ));
            });
        }
        let audiences = self.each("audiences", issuer.audiences, |rules, audience| {
            if !(1..=500).contains(&audience.len()) || audience.chars().any(char::is_control) {
                rules.fault("an audience has 1 to 500 characters, none of them a control character");
            }
            audience
        });
        let scope_claim = issuer.scope_claim.unwrap_or_else(|| DEFAULT_SCOPE_CLAIM.to_owned());
        if !(1..=128).contains(&scope_claim.len()) || scope_claim.chars().any(char::is_control) {
            self.at("scope_claim", |rules| rules.fault("a claim's name has 1 to 128 characters"));
        }
        IssuerDeclaration {
            issuer: issuer.name,
            jwks_uri: issuer.jwks_uri,
            audiences,
            scopes: self.scopes(issuer.scopes),
            scope_claim,
        }
    }

    pub(super) fn certificate(
        &mut self,
        certificate: file::Certificate,
        ids: &mut HashSet<String>,
        thumbprints: &mut HashSet<[u8; 32]>,
    ) -> CertificateDeclaration {
        let is_name = |text: &str| {
            (1..=63).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let id = certificate.id;
        self.at("id", |rules| {
            if !is_name(&id) || !id.starts_with(|first: char| first.is_ascii_alphanumeric()) {
                rules.fault("an id has 1 to 63 letters, digits and ._-, a letter or digit first");
            }
            if !ids.insert(id.clone()) {
                rules.fault(format!("{id:?} is there twice"));
            }
        });
        let thumbprint = read_thumbprint(&certificate.thumbprint);
        self.at("thumbprint", |rules| match thumbprint {
            None => rules.fault(
                "a thumbprint is the SHA-256 of the certificate's DER: 64 hexadecimal digits, with colons or without, or 43 \
                 characters of base64url",
            ),
            Some(bytes) if !thumbprints.insert(bytes) => rules.fault("this certificate is there twice"),
            Some(_) => {}
        });
        if !is_name(&certificate.service) {
            self.at("service", |rules| {
                rules.fault("the calling service has 1 to 63 letters, digits, dots, dashes or underscores");
            });
        }
        let not_after = certificate.not_after.and_then(|text| {
            let moment = OffsetDateTime::parse(&text, &Rfc3339).ok();
            let second = moment.and_then(|moment| u64::try_from(moment.unix_timestamp()).ok());
            if second.is_none() {
                self.at("not_after", |rules| {
                    rules.fault("a moment is written like \"2027-01-01T00:00:00Z\" (RFC 3339)");
                });
            }
            second
        });
        CertificateDeclaration {
            thumbprint: thumbprint.unwrap_or_default(),
            identity: CertificateIdentity {
                id,
                service: certificate.service,
                scopes: self.scopes(certificate.scopes),
                not_after,
            },
        }
    }
}

/// https, or http on loopback; without user, password and fragment, an issuer without a query, too.
fn secure_url(text: &str, may_have_query: bool) -> Result<(), &'static str> {
    let url = Url::parse(text).map_err(|_| "is a URL, such as https://id.example.com")?;
    match url.scheme() {
        "https" if url.host().is_some() => {}
        "http" if is_on_loopback(&url) => {}
        _ => return Err("begins with https://; http is for loopback alone"),
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("has no user, password or fragment");
    }
    if url.query().is_some() && !may_have_query {
        return Err("has no query");
    }
    if text.len() > 2_000 {
        return Err("has 2000 characters at most");
    }
    Ok(())
}

fn read_thumbprint(text: &str) -> Option<[u8; 32]> {
    if let Some(bytes) = base64url::decode_array(text) {
        return Some(bytes);
    }
    let digits: Vec<u8> = text
        .chars()
        .filter(|char| *char != ':')
        .map(|char| char.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> =
        digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | digit)).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}
