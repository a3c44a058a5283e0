//! A browser without a screen: cookies, one request at a time, the headers that a browser sends with a form. It follows
//! no redirect by itself, so that the story sees each.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::http::{Response, header};
use ureq::{Agent, Body};
use url::Url;

use super::forms::{Field, Form};

/// One browser.
pub(crate) struct Browser {
    agent: Agent,
}

/// What came back, with the address it came from.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) status: u16,
    pub(crate) location: Option<Url>,
    pub(crate) body: String,
}

impl Browser {
    pub(crate) fn new() -> Self {
        let agent = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .user_agent("gateward-demo")
            .build()
            .into();
        Self { agent }
    }

    /// Opens an address.
    pub(crate) fn open(&self, url: &Url) -> Result<Page> {
        let response = self.agent.get(url.as_str()).header(header::ACCEPT, "text/html").call();
        page(url, response)
    }

    /// Sends a form of `page`, its hidden fields as they are and `filled` in place of others.
    pub(crate) fn send(
        &self,
        page_url: &Url,
        form: &Form,
        filled: &[(&str, &str)],
        button: Option<&Field>,
    ) -> Result<Page> {
        if form.method != "post" {
            bail!("a form of {page_url} is sent by {:?}; the gateway's forms are sent by POST", form.method);
        }
        let url =
            page_url.join(&form.action).with_context(|| format!("{} is not an address", form.action))?;
        let own = |field: &Field| {
            let value = filled
                .iter()
                .find(|(name, _)| *name == field.name)
                .map_or(field.value.as_str(), |(_, value)| value);
            (field.name.clone(), value.to_owned())
        };
        let pairs: Vec<(String, String)> = form.fields.iter().chain(button).map(own).collect();
        let request = self.agent.post(url.as_str()).header(header::ACCEPT, "text/html");
        let request = request.header(header::ORIGIN, page_url.origin().ascii_serialization());
        page(&url, request.header("Sec-Fetch-Site", "same-origin").send_form(pairs))
    }

    /// A call of an endpoint with a form body, as an OAuth client makes it.
    pub(crate) fn post_form(&self, url: &str, pairs: &[(&str, &str)]) -> Result<Page> {
        page(&parse(url)?, self.agent.post(url).send_form(pairs.iter().copied()))
    }

    /// A call of a project.
    pub(crate) fn call(&self, url: &str, token: Option<&str>) -> Result<Page> {
        let request = self.agent.get(url);
        let request = match token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        };
        page(&parse(url)?, request.call())
    }
}

impl Page {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body)
            .with_context(|| format!("{} answered no JSON: {}", self.url, self.short()))
    }

    /// Status and the beginning of the body, for messages.
    pub(crate) fn short(&self) -> String {
        let beginning: String = self.body.chars().take(300).collect();
        format!("{} {}", self.status, beginning.trim())
    }
}

fn parse(url: &str) -> Result<Url> {
    Url::parse(url).with_context(|| format!("{url} is not an address"))
}

fn page(url: &Url, response: Result<Response<Body>, ureq::Error>) -> Result<Page> {
    let mut response = response.with_context(|| format!("{url} cannot be reached"))?;
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let location = location.map(|target| url.join(target)).transpose().context("a redirect to no address")?;
    let status = response.status().as_u16();
    let body =
        response.body_mut().read_to_string().with_context(|| format!("{url}: the answer broke off"))?;
    Ok(Page { url: url.clone(), status, location, body })
}
