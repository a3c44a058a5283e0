//! Services: where requests go, which are let through, and by what rules.

use std::collections::HashSet;

use shared::path::CanonicalPath;
use shared::policy::{Credential, PublicRoute, Rewrite, Route, Service, Upstream};
use url::Url;

use super::super::{ServiceDeclaration, file};
use super::bounds::Bounds;
use super::{DEFAULT_CREDENTIALS, Rules};

/// Of one service, at most.
const UPSTREAMS: usize = 16;
const REWRITES: usize = 100;
const ROUTES: usize = 2_000;
const PUBLIC: usize = 1_000;
/// The largest weight: a share is told from another of a thousandth of it.
const MAX_WEIGHT: u64 = 1_000;
/// Never forwarded: an answer to TRACE would show what the gateway adds, and CONNECT has no path.
const NEVER: [&str; 2] = ["CONNECT", "TRACE"];

const PATH: &str =
    "a path is absolute, decoded and canonical, such as /health, or ends with /* for everything below";

impl Rules {
    pub(super) fn service(
        &mut self,
        service: file::Service,
        seen: &mut HashSet<String>,
    ) -> ServiceDeclaration {
        let slug = self.slug(service.slug, seen);
        let upstreams = self.upstreams(service.upstreams);
        let Bounds { max_body_bytes, timeout_millis, hard_seconds } =
            self.bounds(service.max_body, service.timeout, service.hard_limit);
        self.at_most("public", service.public.len(), PUBLIC);
        let public = self.each("public", service.public, Self::public);
        let settings = Service {
            upstreams,
            rewrites: self.rewrites(service.rewrite),
            methods: self.methods(service.methods),
            scopes: self.scopes(service.scopes),
            credentials: service.credentials.map_or_else(|| DEFAULT_CREDENTIALS.to_vec(), distinct),
            routes: self.routes(service.route, &public),
            public,
            max_body_bytes,
            timeout_millis,
            hard_seconds,
            limits: self.limits(service.limit),
            assertion: service.assertion,
        };
        ServiceDeclaration { slug, settings }
    }

    fn upstreams(&mut self, upstreams: Vec<file::Upstream>) -> Vec<Upstream> {
        if !(1..=UPSTREAMS).contains(&upstreams.len()) {
            self.at("upstreams", |rules| rules.fault(format!("a service has 1 to {UPSTREAMS} upstreams")));
        }
        let mut seen = HashSet::new();
        let upstreams = self.each("upstreams", upstreams, |rules, upstream| {
            if let Err(why) = upstream_rule(&upstream.url) {
                rules.fault(why);
            } else if !seen.insert(upstream.url.clone()) {
                rules.fault(format!("{:?} is there twice; give it a larger weight instead", upstream.url));
            }
            let weight = u32::try_from(upstream.weight).unwrap_or(u32::MAX);
            if upstream.weight > MAX_WEIGHT {
                rules.at("weight", |rules| rules.fault(format!("a weight is 0 to {MAX_WEIGHT}")));
            }
            if upstream.region.as_deref().is_some_and(|region| !is_region(region)) {
                rules.at("region", |rules| {
                    rules.fault("a region is 1 to 63 letters, digits and dashes, as in the edges' REGION");
                });
            }
            Upstream { url: upstream.url, weight, region: upstream.region }
        });
        if !upstreams.is_empty() && upstreams.iter().all(|upstream| upstream.weight == 0) {
            self.at("upstreams", |rules| rules.fault("every weight is 0, so that none would be asked"));
        }
        upstreams
    }

    fn methods(&mut self, methods: Vec<String>) -> Vec<String> {
        let mut seen = HashSet::new();
        self.each("methods", methods, |rules, method| {
            rules.method(&method);
            if !seen.insert(method.clone()) {
                rules.fault(format!("{method} is there twice"));
            }
            method
        })
    }

    fn method(&mut self, method: &str) {
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
            self.fault("a method is upper-case letters, such as GET");
        } else if NEVER.contains(&method) {
            self.fault(format!("{method} is never forwarded"));
        }
    }

    /// A decoded path that requests are matched against.
    fn path(&mut self, member: &'static str, path: &str) {
        let fixed = path.strip_suffix("/*").unwrap_or(path);
        let canonical =
            fixed.is_empty() || CanonicalPath::parse(fixed).is_ok_and(|read| read.matched_after(0) == fixed);
        let ends_twice = fixed.ends_with('/') && path.ends_with("/*");
        if path.is_empty() || fixed.contains('*') || ends_twice || !canonical {
            self.at(member, |rules| rules.fault(PATH));
        }
    }

    fn public(&mut self, file::Public { method, path }: file::Public) -> PublicRoute {
        self.at("method", |rules| rules.method(&method));
        self.path("path", &path);
        PublicRoute { method, path }
    }

    fn rewrites(&mut self, rewrites: Vec<file::Rewrite>) -> Vec<Rewrite> {
        self.at_most("rewrite", rewrites.len(), REWRITES);
        let mut seen = HashSet::new();
        self.each("rewrite", rewrites, |rules, file::Rewrite { from, to }| {
            rules.path("from", &from);
            if !seen.insert(from.clone()) {
                rules.at("from", |rules| rules.fault(format!("{from:?} is rewritten twice")));
            }
            let fixed = to.strip_suffix("/*").unwrap_or(&to);
            let canonical = fixed.is_empty()
                || CanonicalPath::parse(fixed).is_ok_and(|read| read.forwarded_after(0) == fixed);
            if from.ends_with("/*") != to.ends_with("/*") {
                rules.at("to", |rules| rules.fault("from and to both end with /*, or neither does"));
            } else if to.is_empty()
                || fixed.contains('*')
                || !canonical
                || (fixed.ends_with('/') && fixed != to)
            {
                rules.at("to", |rules| {
                    rules.fault(
                        "a path to forward is absolute, canonical and percent-encoded, such as /api/v1/*",
                    );
                });
            }
            Rewrite { from, to }
        })
    }

    fn routes(&mut self, routes: Vec<file::Route>, public: &[PublicRoute]) -> Vec<Route> {
        self.at_most("route", routes.len(), ROUTES);
        let mut seen = HashSet::new();
        self.each("route", routes, |rules, route| {
            rules.path("path", &route.path);
            let methods = rules.methods(route.methods);
            rules.no_two_alike(&route.path, &methods, &mut seen);
            let open = public.iter().find(|public| {
                public.path == route.path && (methods.is_empty() || methods.contains(&public.method))
            });
            if let Some(PublicRoute { method, path }) = open {
                rules.at("path", |rules| {
                    rules.fault(format!(
                        "{method} {path} is public: it needs no credential, so that it can have no rules of its own; name \
                         the other methods here, or take it out of public"
                    ));
                });
            }
            let Bounds { max_body_bytes, timeout_millis, hard_seconds } =
                rules.bounds(route.max_body, route.timeout, route.hard_limit);
            Route {
                methods,
                scopes: rules.scopes(route.scopes),
                credentials: route.credentials.map(distinct),
                max_body_bytes,
                timeout_millis,
                hard_seconds,
                limits: rules.limits(route.limit),
                path: route.path,
            }
        })
    }

    /// Of two routes of one path and method only one could be applied.
    fn no_two_alike(&mut self, path: &str, methods: &[String], seen: &mut HashSet<(String, String)>) {
        let all = [String::new()];
        for method in if methods.is_empty() { &all } else { methods } {
            if !seen.insert((path.to_owned(), method.clone())) {
                let method = if method.is_empty() { "every method" } else { method };
                self.at("path", |rules| {
                    rules.fault(format!("{method} of {path:?} has two routes; join them"));
                });
            }
        }
    }
}

fn distinct(credentials: Vec<Credential>) -> Vec<Credential> {
    let mut distinct = Vec::new();
    for credential in credentials {
        if !distinct.contains(&credential) {
            distinct.push(credential);
        }
    }
    distinct
}

fn is_region(region: &str) -> bool {
    (1..=63).contains(&region.len())
        && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn upstream_rule(text: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("{text:?} {why}; use a base URL such as http://127.0.0.1:9100"));
    let Ok(url) = Url::parse(text) else { return wrong("is no URL") };
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return wrong("is not http or https with a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an upstream has no user or password in it".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("has a query or fragment");
    }
    if text.ends_with('/') {
        return wrong("ends with a slash");
    }
    if text.len() > 2_000 {
        return Err("an upstream's URL has 2000 characters at most".to_owned());
    }
    Ok(())
}
