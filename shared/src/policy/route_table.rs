//! Which rules a path below a service has: found in a few look-ups, however many routes there are. The most specific pattern decides:
//! an exact path before a prefix, a longer prefix before a shorter one, one that names the method before one that does not, and
//! a route before a public one. It may not look at anything but method and canonical path.

use alloc::{string::String, vec::Vec};

use hashbrown::HashMap;

use super::{Rewrite, Route, Service};

/// The routes, public routes and rewrites of one service, ready to be looked up.
#[derive(Debug, Default)]
pub struct RouteTable {
    rules: Patterns<Rule>,
    rewrites: Patterns<usize>,
}

/// What a pattern stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The route at this place.
    Route(usize),
    /// The public route at this place.
    Public(usize),
}

/// The rules of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Matched<'a> {
    /// Whether no credential is needed.
    pub is_public: bool,
    /// The route whose settings apply, if any.
    pub route: Option<&'a Route>,
}

/// Values by exact path, and by what stands before `/*`.
#[derive(Debug)]
struct Patterns<V> {
    exact: HashMap<String, Vec<V>>,
    below: HashMap<String, Vec<V>>,
    /// The most slashes that a prefix has.
    depth: usize,
}

impl<V> Default for Patterns<V> {
    fn default() -> Self {
        Self { exact: HashMap::new(), below: HashMap::new(), depth: 0 }
    }
}

impl<V> Patterns<V> {
    fn add(&mut self, pattern: &str, value: V) {
        if let Some(prefix) = pattern.strip_suffix("/*") {
            self.depth = self.depth.max(slashes(prefix));
            self.below.entry(prefix.into()).or_default().push(value);
        } else {
            self.exact.entry(pattern.into()).or_default().push(value);
        }
    }

    /// The values of every pattern that covers `path`, the most specific pattern first.
    fn covering<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a [V]> {
        let prefixes = path.match_indices('/').take(self.depth.saturating_add(1));
        // From the left, so that a path of a thousand segments costs no more than the deepest prefix; the longest comes last.
        let below: Vec<&[V]> = if self.below.is_empty() {
            Vec::new()
        } else {
            prefixes
                .filter_map(|(at, _)| path.get(..at).and_then(|prefix| self.below.get(prefix)))
                .map(Vec::as_slice)
                .collect()
        };
        self.exact.get(path).map(Vec::as_slice).into_iter().chain(below.into_iter().rev())
    }
}

fn slashes(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'/').count()
}

impl RouteTable {
    /// The table of a service.
    pub fn of(service: &Service) -> Self {
        let mut table = Self::default();
        for (index, route) in service.routes.iter().enumerate() {
            table.rules.add(&route.path, Rule::Route(index));
        }
        for (index, public) in service.public.iter().enumerate() {
            table.rules.add(&public.path, Rule::Public(index));
        }
        for (index, rewrite) in service.rewrites.iter().enumerate() {
            table.rewrites.add(&rewrite.from, index);
        }
        table
    }

    /// The rules of a method and decoded path. `service` is the one that this is the table of.
    pub fn rules<'a>(&self, service: &'a Service, method: &str, path: &str) -> Matched<'a> {
        for rules in self.rules.covering(path) {
            let mut for_any_method = None;
            let mut public = false;
            for rule in rules {
                match *rule {
                    Rule::Route(index) => match service.routes.get(index) {
                        Some(route) if route.methods.is_empty() => for_any_method = Some(route),
                        Some(route) if route.methods.iter().any(|one| one == method) => {
                            return Matched { is_public: false, route: Some(route) };
                        }
                        _ => {}
                    },
                    Rule::Public(index) => {
                        public |= service.public.get(index).is_some_and(|route| route.method == method);
                    }
                }
            }
            if public || for_any_method.is_some() {
                return Matched { is_public: public, route: for_any_method.filter(|_| !public) };
            }
        }
        Matched::default()
    }

    /// The rewriting of a decoded path. `service` is the one that this is the table of.
    pub fn rewrite<'a>(&self, service: &'a Service, path: &str) -> Option<&'a Rewrite> {
        let index = self.rewrites.covering(path).find_map(|indexes| indexes.first())?;
        service.rewrites.get(*index)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;
    use crate::policy::PublicRoute;

    fn service(routes: &[(&[&str], &str)], public: &[(&str, &str)]) -> Service {
        Service {
            routes: routes
                .iter()
                .map(|(methods, path)| Route {
                    methods: methods.iter().map(ToString::to_string).collect(),
                    path: (*path).into(),
                    ..Route::default()
                })
                .collect(),
            public: public
                .iter()
                .map(|(method, path)| PublicRoute { method: (*method).into(), path: (*path).into() })
                .collect(),
            ..Service::default()
        }
    }

    fn found(service: &Service, method: &str, path: &str) -> String {
        let matched = RouteTable::of(service).rules(service, method, path);
        match matched.route {
            Some(route) => route.path.clone(),
            None if matched.is_public => "public".into(),
            None => "service".into(),
        }
    }

    #[test]
    fn the_most_specific_pattern_decides() {
        let service = service(
            &[(&[], "/*"), (&[], "/admin/*"), (&["POST"], "/admin/users"), (&[], "/files/private/*")],
            &[("GET", "/files/*"), ("GET", "/health"), ("GET", "/admin/ping")],
        );
        for (method, path, rule) in [
            ("GET", "/x", "/*"),
            ("GET", "/admin", "/*"),
            ("GET", "/admin/", "/admin/*"),
            ("GET", "/admin/users", "/admin/*"),
            ("POST", "/admin/users", "/admin/users"),
            ("GET", "/admin/ping", "public"),
            ("POST", "/admin/ping", "/admin/*"),
            ("GET", "/files/a/b/c", "public"),
            ("POST", "/files/a", "/*"),
            ("GET", "/files/private/a", "/files/private/*"),
            ("GET", "/health", "public"),
            ("GET", "/health/", "/*"),
            ("GET", "/healthz", "/*"),
            ("HEAD", "/health", "/*"),
            ("get", "/health", "/*"),
            ("GET", "/", "/*"),
        ] {
            assert_eq!(found(&service, method, path), rule, "{method} {path}");
        }
    }

    #[test]
    fn a_public_route_matches_method_and_whole_segments() {
        let service = service(&[], &[("GET", "/health"), ("GET", "/assets/*")]);
        let table = RouteTable::of(&service);
        let covers = |method: &str, path: &str| table.rules(&service, method, path).is_public;
        assert!(covers("GET", "/health"));
        for (method, path) in [
            ("POST", "/health"),
            ("GET", "/health/"),
            ("GET", "/healthz"),
            ("GET", "/Health"),
            ("get", "/health"),
        ] {
            assert!(!covers(method, path), "{method} {path}");
        }
        assert!(covers("GET", "/assets/a/b") && covers("GET", "/assets/"));
        assert!(!covers("GET", "/assets") && !covers("GET", "/assetsx/a"));
    }

    #[test]
    fn a_public_route_of_a_method_does_not_open_what_a_route_of_that_method_closes() {
        let service = service(&[(&["GET"], "/a")], &[("GET", "/a")]);
        assert_eq!(found(&service, "GET", "/a"), "/a");
        let any_method = super::tests::service(&[(&[], "/a")], &[("GET", "/a")]);
        assert_eq!(found(&any_method, "GET", "/a"), "public");
    }

    #[test]
    fn a_rewrite_is_the_most_specific_too() {
        let rewrite = |from: &str, to: &str| Rewrite { from: from.into(), to: to.into() };
        let service = Service {
            rewrites: alloc::vec![
                rewrite("/v1/*", "/api/*"),
                rewrite("/v1/users/*", "/u/*"),
                rewrite("/v1", "/")
            ],
            ..Service::default()
        };
        let table = RouteTable::of(&service);
        let to = |path: &str| table.rewrite(&service, path).map(|rewrite| rewrite.to.clone());
        assert_eq!(to("/v1/x"), Some("/api/*".into()));
        assert_eq!(to("/v1/users/7"), Some("/u/*".into()));
        assert_eq!(to("/v1"), Some("/".into()));
        assert_eq!(to("/v10/x"), None);
    }

    proptest! {
        /// What is found in the table is what a search through all patterns finds.
        #[test]
        fn as_a_search_through_all_of_them(
            patterns in proptest::collection::vec("(/[ab]{1,2}){0,3}(/\\*)?", 1..12),
            path in "(/[ab]{0,2}){1,4}",
        ) {
            let mut patterns: Vec<String> = patterns.into_iter().filter(|pattern| !pattern.is_empty()).collect();
            patterns.sort();
            patterns.dedup();
            let routes: Vec<(&[&str], &str)> = patterns.iter().map(|pattern| (&[][..], pattern.as_str())).collect();
            let service = service(&routes, &[]);
            let covers = |pattern: &str| match pattern.strip_suffix("/*") {
                Some(prefix) => path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')),
                None => pattern == path,
            };
            let best = patterns
                .iter()
                .filter(|pattern| covers(pattern))
                .max_by_key(|pattern| (!pattern.ends_with("/*"), pattern.len()))
                .map_or_else(|| "service".to_string(), Clone::clone);
            prop_assert_eq!(found(&service, "GET", &path), best);
        }
    }
}
