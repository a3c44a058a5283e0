//! A browser of a test: a cookie jar, forms sent as a browser sends them, and a look at what every page must be. Tests only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::http::test_origin::{Answer, ISSUER, TestOrigin};

/// A browser. Clones share their cookies.
#[derive(Clone)]
pub(crate) struct Browser {
    origin: Arc<TestOrigin>,
    cookies: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Browser {
    pub(crate) fn new(origin: &Arc<TestOrigin>) -> Self {
        Self { origin: Arc::clone(origin), cookies: Arc::default() }
    }

    /// Opens a page; redirects are not followed.
    pub(crate) async fn get(&self, target: &str) -> Answer {
        let cookie = self.cookie_header();
        let answer = self.origin.send("GET", target, &[("cookie", &cookie), ("user-agent", AGENT)], "").await;
        self.keep(&answer);
        look_at(target, &answer);
        answer
    }

    /// Sends a form of ours.
    pub(crate) async fn post(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        self.post_from(target, fields, &[("sec-fetch-site", "same-origin"), ("origin", ISSUER)]).await
    }

    /// Sends a form with what the browser says of where it comes from.
    pub(crate) async fn post_from(
        &self,
        target: &str,
        fields: &[(&str, &str)],
        site: &[(&str, &str)],
    ) -> Answer {
        let mut body = String::new();
        for (name, value) in fields {
            if !body.is_empty() {
                body.push('&');
            }
            body.push_str(name);
            body.push('=');
            shared::form::encode_into(&mut body, value);
        }
        let cookie = self.cookie_header();
        let mut headers = vec![("cookie", cookie.as_str()), ("user-agent", AGENT)];
        headers.extend_from_slice(site);
        let answer = self.origin.post(target, &headers, &body).await;
        self.keep(&answer);
        look_at(target, &answer);
        answer
    }

    /// A cookie's value.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap().get(name).cloned()
    }

    /// Plants a cookie.
    pub(crate) fn set_cookie(&self, name: &str, value: &str) {
        self.cookies.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    fn cookie_header(&self) -> String {
        let cookies = self.cookies.lock().unwrap();
        cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    fn keep(&self, answer: &Answer) {
        for value in answer.headers.get_all("set-cookie") {
            let text = value.to_str().unwrap();
            let (pair, attributes) = text.split_once("; ").unwrap();
            assert!(attributes.starts_with("Path=/; Secure; HttpOnly; SameSite=Lax"), "{text}");
            assert_eq!(answer.header("cache-control"), "no-store", "a cookie must not be cached");
            let (name, value) = pair.split_once('=').unwrap();
            assert!(name.starts_with("__Host-"), "{name}");
            let mut cookies = self.cookies.lock().unwrap();
            if attributes.ends_with("Max-Age=0") {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0";

/// What every page is, whatever it says.
fn look_at(target: &str, answer: &Answer) {
    if !answer.header("content-type").starts_with("text/html") {
        return;
    }
    let policy = answer.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; style-src 'self'; img-src 'self'; form-action '"),
        "{target}: {policy}"
    );
    assert!(policy.ends_with("; base-uri 'none'; frame-ancestors 'none'"), "{target}: {policy}");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), value, "{target}: {name}");
    }
    let text = answer.text();
    assert!(text.len() < 20_000, "{target} has {} bytes", text.len());
    for forbidden in ["<script", " style=", " onclick", "http-equiv", "//cdn"] {
        assert!(!text.contains(forbidden), "{target} has {forbidden}");
    }
    for needed in ["<html lang=\"en\">", "<title>", "name=\"viewport\"", "<main id=\"main\"", "<h1>"] {
        assert!(text.contains(needed), "{target} lacks {needed}: {text}");
    }
    for tag in text.split("<input ").skip(1).map(|rest| rest.split('>').next().unwrap()) {
        if !tag.contains("type=\"hidden\"") {
            let id = tag.split("id=\"").nth(1).unwrap().split('"').next().unwrap();
            assert!(text.contains(&format!("<label for=\"{id}\">")), "{target}: {id} has no label");
        }
    }
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The value of a hidden field.
    pub(crate) fn field(&self, name: &str) -> String {
        let text = self.text();
        let mark = format!("name=\"{name}\" value=\"");
        let rest = text.split(&mark).nth(1).unwrap_or_else(|| panic!("no field {name} in {text}"));
        rest.split('"').next().unwrap().to_owned()
    }
}
