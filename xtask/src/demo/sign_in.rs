//! The person's part of the story: from the client's authorization request over the sign-in pages to the code. Fills in
//! whatever form the gateway shows, as a person would.

use anyhow::{Context, Result, bail};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

use super::browser::{Browser, Page};
use super::forms::{self, Form};
use crate::entropy;
use crate::up::Record;

/// More pages than this, and the gateway goes in circles.
const PAGES: usize = 15;

/// A code and what its redemption needs.
pub(crate) struct Authorization {
    pub(crate) code: String,
    pub(crate) verifier: String,
}

/// Goes from the authorization endpoint to the redirect back, signing in and consenting where asked.
pub(crate) fn authorize(browser: &Browser, record: &Record, email: &str) -> Result<Authorization> {
    let verifier = entropy::base64url32()?;
    let state = entropy::base64url32()?;
    let client = &record.demo_client;
    let challenge = Base64UrlUnpadded::encode_string(&Sha256::digest(&verifier));
    let mut url =
        Url::parse(&record.edge_url).and_then(|url| url.join("/oauth/authorize")).context("edge_url")?;
    url.query_pairs_mut().extend_pairs([
        ("response_type", "code"),
        ("client_id", &client.client_id),
        ("redirect_uri", &client.redirect_uri),
        ("scope", &client.scopes.join(" ")),
        ("state", &state),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    let mailbox = Mailbox::before(browser, record, email)?;
    let mut page = browser.open(&url)?;
    for _ in 0..PAGES {
        if let Some(target) = &page.location {
            if target.as_str().starts_with(&client.redirect_uri) {
                return read_redirect(target, &state, &record.issuer, verifier);
            }
            page = browser.open(target)?;
        } else if page.status == 200 {
            page = fill_in(browser, &page, email, &mailbox)?;
        } else {
            bail!("{} answered {}", page.url, page.short());
        }
    }
    bail!("after {PAGES} pages the gateway had not sent the browser back; the last was {}", page.url)
}

/// Sends the form that this page is about.
fn fill_in(browser: &Browser, page: &Page, email: &str, mailbox: &Mailbox<'_>) -> Result<Page> {
    let forms = forms::forms(&page.body);
    let find = |wanted: fn(&Form) -> bool| forms.iter().find(|form| wanted(form));
    // The code before the address: its page also has a form that asks for another code.
    if let Some(form) = find(|form| form.field("one-time-code").is_some()) {
        let code = mailbox.code()?;
        let name = form.field("one-time-code").map_or("", |field| field.name.as_str());
        return browser.send(&page.url, form, &[(name, &code)], None);
    }
    if let Some(form) = find(|form| form.field("email").is_some()) {
        let name = form.field("email").map_or("", |field| field.name.as_str());
        return browser.send(&page.url, form, &[(name, email)], None);
    }
    if let Some(form) = find(|form| form.button("allow").is_some()) {
        return browser.send(&page.url, form, &[], form.button("allow"));
    }
    bail!("{} shows no form that signs in or consents: {}", page.url, page.short())
}

fn read_redirect(target: &Url, state: &str, issuer: &str, verifier: String) -> Result<Authorization> {
    let get = |wanted: &str| {
        target.query_pairs().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
    };
    if let Some(error) = get("error") {
        bail!(
            "the gateway sent the browser back with {error}: {}",
            get("error_description").unwrap_or_default()
        );
    }
    if get("state").as_deref() != Some(state) {
        bail!("the gateway sent the browser back with another state");
    }
    // RFC 9207.
    if get("iss").as_deref() != Some(issuer) {
        bail!("the gateway sent the browser back as the issuer {:?} instead of {issuer}", get("iss"));
    }
    let code = get("code").context("the gateway sent the browser back without a code")?;
    Ok(Authorization { code, verifier })
}

/// The mail for one address, from a moment on.
struct Mailbox<'a> {
    browser: &'a Browser,
    url: Url,
    email: &'a str,
    last_seen: u64,
}

impl<'a> Mailbox<'a> {
    /// Remembers what has come until now.
    fn before(browser: &'a Browser, record: &Record, email: &'a str) -> Result<Self> {
        let url = Url::parse(&record.mailbox_url).context("mailbox_url")?;
        let mut all = url.join("/messages").context("mailbox_url")?;
        all.query_pairs_mut().append_pair("to", email);
        let messages = browser.call(all.as_str(), None)?.json()?;
        let ids = messages.as_array().into_iter().flatten().filter_map(|message| message.get("id")?.as_u64());
        Ok(Self { browser, url, email, last_seen: ids.max().unwrap_or(0) })
    }

    /// Waits for the mail with the code.
    fn code(&self) -> Result<String> {
        let mut next = self.url.join("/messages/next").context("mailbox_url")?;
        next.query_pairs_mut()
            .append_pair("to", self.email)
            .append_pair("after", &self.last_seen.to_string());
        let page = self.browser.call(next.as_str(), None)?;
        if page.status != 200 {
            bail!("no mail came for {} within 10 s; the origin's log may say why", self.email);
        }
        let message = page.json()?;
        let text = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default();
        let whole = format!("{}\n{}", text("subject"), text("text"));
        find_code(&whole).with_context(|| format!("the mail holds no one-time code:\n{whole}"))
    }
}

/// The first run of at least six digits, which may be written in groups (`123 456`, `1234-5678`).
fn find_code(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let is_part = |sign: char| sign.is_ascii_digit() || matches!(sign, ' ' | '-');
        line.split(|sign: char| !is_part(sign))
            .map(|run| run.chars().filter(char::is_ascii_digit).collect::<String>())
            .find(|digits| (6..=10).contains(&digits.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_however_they_are_grouped() {
        assert_eq!(find_code("Hello,\nyour code is 123456.").as_deref(), Some("123456"));
        assert_eq!(find_code("Your code:\n\n  1234 5678\n").as_deref(), Some("12345678"));
        assert_eq!(find_code("It works for 10 minutes"), None);
    }
}
