//! What may be declared, and what is said of what may not.

use proptest::prelude::*;
use serde_json::{Value, json};
use shared::gcra::Quota;
use shared::policy::{Credential, LimitBy, Tier, Upstream};

use crate::projects::{Declaration, DeclarationFaults, ProjectDeclaration};

/// A project with everything that can be said of one.
pub(super) const FULL: &str = r#"[workspace]
slug = "demo"
[[project]]
slug = "notes"
name = "Notes"
[project.cors]
origins = ["https://app.example.com", "http://127.0.0.1:9101"]
methods = ["PUT", "DELETE"]
headers = ["Authorization", "content-type"]
expose = ["ratelimit"]
max_age = "10m"
[[project.limit]]
by = "project"
requests = 10000
window = "60s"
[[project.service]]
slug = "api"
upstreams = ["http://127.0.0.1:9100", { url = "https://b.example.com/base", weight = 3, region = "eu" }]
methods = ["GET", "POST", "PUT"]
scopes = ["notes:read"]
credentials = ["access_token", "external_token", "api_key", "client_certificate"]
public = [{ method = "GET", path = "/health" }]
max_body = "10MB"
timeout = "1500ms"
hard_limit = "60s"
assertion = true
[[project.service.rewrite]]
from = "/v1/*"
to = "/api/v1/*"
[[project.service.rewrite]]
from = "/café"
to = "/caf%C3%A9/menu"
[[project.service.route]]
path = "/admin/*"
methods = ["POST", "PUT"]
scopes = ["notes:admin"]
credentials = ["access_token"]
max_body = 1024
timeout = 5
hard_limit = "10s"
[[project.service.route.limit]]
by = "subject"
requests = 10
window = "60s"
tier = "exact"
[[project.service.route]]
path = "/health"
methods = ["POST"]
[[project.service.limit]]
by = "address"
requests = 100
window = 60
[[project.issuer]]
issuer = "https://id.example.com/"
jwks_uri = "https://id.example.com/keys?x=1"
audiences = ["notes"]
scopes = ["notes:read"]
scope_claim = "permissions"
[[project.certificate]]
id = "worker-1"
thumbprint = "00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F"
service = "worker"
scopes = ["notes:read"]
not_after = "2027-01-01T00:00:00Z"
[[client]]
client_id = "demo-app"
project = "notes"
redirect_uris = ["https://app.example.com/callback"]
origins = ["https://app.example.com"]
"#;

#[test]
fn every_fault_of_a_file_is_named_with_its_line() {
    let text = r#"[workspace]
slug = "Demo"
[[project]]
slug = "oauth"
[[project.service]]
slug = "api"
upstreams = ["ftp://x", "http://user:pass@host", "http://host/"]
scopes = ["two words"]
public = [{ method = "get", path = "/a/../b" }]
[[project.service]]
slug = "api"
upstreams = []
[[client]]
client_id = "-x"
project = "notes"
redirect_uris = ["http://example.com/callback", "javascript:alert(1)"]
"#;
    let faults = Declaration::parse(text).unwrap_err();
    let places: Vec<_> = faults.0.iter().map(|fault| (fault.line.unwrap(), fault.field.as_str())).collect();
    assert_eq!(
        places,
        [
            (2, "workspace.slug"),
            (4, "project.slug"),
            (7, "project.service.upstreams"),
            (7, "project.service.upstreams"),
            (7, "project.service.upstreams"),
            (8, "project.service.scopes"),
            (9, "project.service.public.method"),
            (9, "project.service.public.path"),
            (11, "project.service.slug"),
            (12, "project.service.upstreams"),
            (14, "client.client_id"),
            (16, "client.redirect_uris"),
            (16, "client.redirect_uris"),
        ]
    );
    assert!(!faults.to_string().contains("user:pass"), "a password is repeated: {faults}");
}

#[test]
fn a_member_that_is_unknown_missing_or_of_another_kind_is_named_with_its_line() {
    for (text, line, words) in [
        ("[workspace]\nslug = \"demo\"\nslgu = \"x\"\n", 3, "slgu"),
        ("[workspace]\nslug = \"demo\"\n[[project]]\nname = \"x\"\n", 3, "slug"),
        ("[workspace]\nslug = 7\n", 2, "string"),
        ("[workspace]\nslug = \"demo\n", 2, "string"),
        (
            "[workspace]\nslug = \"d\"\n[[project]]\nslug = \"p\"\n[[project.service]]\nslug = \"s\"\nupstreams = [\"http://h\"]\ncredentials = [\"password\"]\n",
            8,
            "password",
        ),
    ] {
        let faults = Declaration::parse(text).unwrap_err();
        assert_eq!(faults.0.len(), 1);
        assert_eq!(faults.0[0].line, Some(line), "{text}\n{faults}");
        assert!(faults.to_string().contains(words), "{faults}");
    }
}

#[test]
fn everything_that_can_be_said_is_read() {
    let declaration = Declaration::parse(FULL).unwrap_or_else(|faults| panic!("{faults}"));
    let project = &declaration.projects[0];
    let service = &project.services[0].settings;
    let far =
        Upstream { weight: 3, region: Some("eu".to_owned()), ..Upstream::new("https://b.example.com/base") };
    assert_eq!(service.upstreams, [Upstream::new("http://127.0.0.1:9100"), far]);
    assert_eq!((service.max_body_bytes, service.timeout_millis), (Some(10_000_000), Some(1_500)));
    assert_eq!((service.hard_seconds, service.assertion), (Some(60), true));
    assert_eq!(service.rewrites[1].to, "/caf%C3%A9/menu");
    let route = &service.routes[0];
    assert_eq!((route.max_body_bytes, route.timeout_millis), (Some(1_024), Some(5_000)));
    assert_eq!(route.credentials.as_deref(), Some(&[Credential::AccessToken][..]));
    let limit = route.limits[0];
    assert_eq!(
        (limit.by, limit.quota, limit.tier),
        (LimitBy::Subject, Quota { requests: 10, window_seconds: 60 }, Tier::Exact)
    );
    let cors = project.cors.as_ref().unwrap();
    assert_eq!(
        (cors.headers.join(","), cors.max_age_seconds),
        ("authorization,content-type".to_owned(), 600)
    );
    let certificate = &project.certificates[0];
    assert_eq!(certificate.thumbprint, std::array::from_fn(|index| u8::try_from(index).unwrap()));
    assert_eq!(certificate.identity.not_after, Some(1_798_761_600));
    assert_eq!(project.issuers[0].scope_claim, "permissions");
    assert_eq!(declaration.clients[0].origins, ["https://app.example.com"]);
}

#[test]
fn what_is_told_as_json_reads_back_as_the_same() {
    for text in [FULL, super::FILE] {
        for project in Declaration::parse(text).unwrap().projects {
            let json = project.to_json();
            assert_eq!(
                ProjectDeclaration::from_json(&project.slug, json.clone()).unwrap(),
                project,
                "{json}"
            );
        }
    }
    let small = ProjectDeclaration::from_json(
        "notes",
        json!({"service": [{"slug": "api", "upstreams": ["http://h"]}]}),
    );
    let expected = json!({"slug": "notes", "service": [{"slug": "api", "upstreams": ["http://h"]}]});
    assert_eq!(small.unwrap().to_json(), expected);
}

/// The file with one of its texts replaced by another must be refused for exactly this.
fn refused(from: &str, to: &str, field: &str, words: &str) {
    assert!(FULL.contains(from), "{from}");
    let text = FULL.replacen(from, to, 1);
    let DeclarationFaults(faults) = Declaration::parse(&text).expect_err(to);
    let told: Vec<_> = faults.iter().map(|fault| (fault.field.as_str(), fault.why.as_str())).collect();
    assert_eq!(faults.len(), 1, "{to}: {told:?}");
    assert!(faults[0].field == field && faults[0].why.contains(words), "{to}: {told:?}");
    // The line is the one of what was replaced, or of the list or table that it stands in.
    let line = faults[0].line.unwrap();
    assert!(line > 1 && line <= text.lines().count(), "{to}: line {line}");
}

#[test]
fn each_rule_says_what_is_wrong() {
    let service = |field: &str| format!("project.service.{field}");
    for (from, to, field, words) in [
        ("methods = [\"GET\", \"POST\", \"PUT\"]", "methods = [\"get\"]", "methods", "upper-case"),
        ("methods = [\"GET\", \"POST\", \"PUT\"]", "methods = [\"TRACE\"]", "methods", "never forwarded"),
        ("methods = [\"GET\", \"POST\", \"PUT\"]", "methods = [\"GET\", \"GET\"]", "methods", "twice"),
        ("weight = 3", "weight = 1001", "upstreams.weight", "0 to 1000"),
        ("region = \"eu\"", "region = \"e u\"", "upstreams.region", "region"),
        ("https://b.example.com/base", "http://127.0.0.1:9100", "upstreams", "twice"),
        ("max_body = \"10MB\"", "max_body = \"10 bananas\"", "max_body", "a size is"),
        ("max_body = \"10MB\"", "max_body = \"1025GiB\"", "max_body", "a size is"),
        ("timeout = \"1500ms\"", "timeout = \"0s\"", "timeout", "1ms to 10m"),
        ("timeout = \"1500ms\"", "timeout = \"11m\"", "timeout", "1ms to 10m"),
        ("hard_limit = \"60s\"", "hard_limit = \"5s\"", "hard_limit", "10s to 300s"),
        ("hard_limit = \"60s\"", "hard_limit = \"10500ms\"", "hard_limit", "whole seconds"),
        ("to = \"/api/v1/*\"", "to = \"/api/v1\"", "rewrite.to", "neither"),
        ("to = \"/api/v1/*\"", "to = \"/api/../v1/*\"", "rewrite.to", "canonical"),
        ("to = \"/caf%C3%A9/menu\"", "to = \"/café/menu\"", "rewrite.to", "percent-encoded"),
        ("from = \"/café\"", "from = \"/caf%C3%A9\"", "rewrite.from", "decoded"),
        ("from = \"/v1/*\"", "from = \"/v1//*\"", "rewrite.from", "canonical"),
        (
            "from = \"/café\"\nto = \"/caf%C3%A9/menu\"",
            "from = \"/v1/*\"\nto = \"/*\"",
            "rewrite.from",
            "twice",
        ),
        ("path = \"/admin/*\"", "path = \"admin\"", "route.path", "absolute"),
        (
            "path = \"/health\"\nmethods = [\"POST\"]",
            "path = \"/admin/*\"\nmethods = [\"PUT\"]",
            "route.path",
            "two routes",
        ),
        ("path = \"/health\"\nmethods = [\"POST\"]", "path = \"/health\"", "route.path", "public"),
        (
            "path = \"/health\"\nmethods = [\"POST\"]",
            "path = \"/health\"\nmethods = [\"POST\", \"GET\"]",
            "route.path",
            "public",
        ),
        ("requests = 10\n", "requests = 0\n", "route.limit.requests", "1 to 1000000000"),
        ("window = 60\n", "window = \"25h\"\n", "limit.window", "1s to 24h"),
        (
            "by = \"address\"\nrequests = 100\nwindow = 60\n",
            "by = \"key\"\nrequests = 1\nwindow = 60\n[[project.service.limit]]\nby = \"key\"\nrequests = 2\nwindow = 60\n",
            "limit.by",
            "two limits by key",
        ),
    ] {
        refused(from, to, &service(field), words);
    }
    let hex = "00:01:02";
    for (from, to, field, words) in [
        (
            "\"https://app.example.com\", \"http",
            "\"https://app.example.com/\", \"http",
            "project.cors.origins",
            "is no origin",
        ),
        (
            "\"https://app.example.com\", \"http",
            "\"https://app.example.com:443\", \"http",
            "project.cors.origins",
            "is no origin",
        ),
        (
            "\"https://app.example.com\", \"http",
            "\"https://APP.example.com\", \"http",
            "project.cors.origins",
            "is no origin",
        ),
        ("\"https://app.example.com\", \"http", "\"null\", \"http", "project.cors.origins", "is no origin"),
        (
            "\"https://app.example.com\", \"http",
            "\"https://*.example.com\", \"http",
            "project.cors.origins",
            "is no origin",
        ),
        ("\"https://app.example.com\", \"http", "\"*\", \"http", "project.cors.origins", "stands alone"),
        (
            "origins = [\"https://app.example.com\", \"http://127.0.0.1:9101\"]",
            "origins = [\"*\"]\ncredentials = true",
            "project.cors.credentials",
            "cookies",
        ),
        (
            "origins = [\"https://app.example.com\", \"http://127.0.0.1:9101\"]",
            "origins = []",
            "project.cors.origins",
            "at least one",
        ),
        ("\"Authorization\"", "\"*\"", "project.cors.headers", "no name of a header"),
        ("expose = [\"ratelimit\"]", "expose = [\"Set-Cookie\"]", "project.cors.expose", "never shown"),
        ("max_age = \"10m\"", "max_age = \"2d\"", "project.cors.max_age", "0s to 24h"),
        (
            "https://id.example.com/keys?x=1",
            "http://id.example.com/keys",
            "project.issuer.jwks_uri",
            "https://",
        ),
        (
            "https://id.example.com/keys?x=1",
            "https://me:secret@id.example.com/",
            "project.issuer.jwks_uri",
            "no user",
        ),
        (
            "issuer = \"https://id.example.com/\"",
            "issuer = \"https://id.example.com/?a=b\"",
            "project.issuer.issuer",
            "no query",
        ),
        (
            "issuer = \"https://id.example.com/\"",
            "issuer = \"id.example.com\"",
            "project.issuer.issuer",
            "is a URL",
        ),
        ("audiences = [\"notes\"]", "audiences = []", "project.issuer.audiences", "1 to 16"),
        (hex, "0", "project.certificate.thumbprint", "SHA-256"),
        ("id = \"worker-1\"", "id = \"-\"", "project.certificate.id", "letter or digit first"),
        ("service = \"worker\"", "service = \"wor ker\"", "project.certificate.service", "calling service"),
        ("2027-01-01T00:00:00Z", "2027-01-01", "project.certificate.not_after", "RFC 3339"),
        (
            "\norigins = [\"https://app.example.com\"]\n",
            "\norigins = [\"*\"]\n",
            "client.origins",
            "is no origin",
        ),
    ] {
        refused(from, to, field, words);
    }
    refused(
        "url = \"https://b.example.com/base\", weight = 3",
        "url = \"https://b.example.com/base\", weight = 0, colour = 3",
        "syntax",
        "colour",
    );
    refused("slug = \"notes\"", "slug = \"v1\"", "project.slug", "path of the gateway");
    refused("by = \"subject\"", "by = \"moon\"", "syntax", "moon");
}

#[test]
fn a_service_whose_upstreams_all_have_weight_0_is_refused() {
    let text = FULL.replacen("\"http://127.0.0.1:9100\", ", "", 1).replacen("weight = 3", "weight = 0", 1);
    let faults = Declaration::parse(&text).unwrap_err();
    assert!(faults.to_string().contains("every weight is 0"), "{faults}");
}

#[test]
fn json_names_places_by_pointer_and_all_of_them() {
    let body = json!({"service": [{"slug": "A", "upstreams": ["http://h", "ftp://h"], "route": [{"path": "x"}]}], "limit": [{"by": "key", "requests": 0, "window": "1s"}]});
    let DeclarationFaults(faults) = ProjectDeclaration::from_json("notes", body).unwrap_err();
    let places: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(
        places,
        ["/limit/0/requests", "/service/0/slug", "/service/0/upstreams/1", "/service/0/route/0/path"]
    );
    assert!(faults.iter().all(|fault| fault.line.is_none()));

    let other = ProjectDeclaration::from_json("notes", json!({"slug": "other"})).unwrap_err();
    assert_eq!(other.0[0].pointer, "/slug");
    for shape in [json!([]), json!("x"), json!({"service": {}}), json!({"servise": []})] {
        assert_eq!(ProjectDeclaration::from_json("notes", shape).unwrap_err().0[0].field, "syntax");
    }
}

/// JSON that is a little like a project: members of the right names with values of every kind, and some that are right.
fn like_a_project() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "slug",
        "name",
        "service",
        "upstreams",
        "url",
        "weight",
        "region",
        "methods",
        "scopes",
        "credentials",
        "public",
        "path",
        "method",
        "route",
        "limit",
        "by",
        "requests",
        "window",
        "tier",
        "cors",
        "origins",
        "max_age",
        "max_body",
        "timeout",
        "hard_limit",
        "rewrite",
        "from",
        "to",
        "issuer",
        "jwks_uri",
        "audiences",
        "certificate",
        "id",
        "thumbprint",
        "not_after",
        "assertion",
    ]);
    let texts = prop::sample::select(vec![
        "notes",
        "GET",
        "/a/*",
        "/*",
        "/a",
        "10MB",
        "30s",
        "500ms",
        "http://h",
        "https://h",
        "subject",
        "exact",
        "api_key",
        "*",
        "",
        "https://h:443",
        "\u{0}",
        "é/%zz",
        "18446744073709551616s",
        "2027-01-01T00:00:00Z",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
    ]);
    let leaf = prop_oneof![
        texts.prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused_with_reasons(body in like_a_project(), service in like_a_project(), cors in like_a_project()) {
        let service = match service {
            Value::Object(mut members) => {
                members.insert("slug".to_owned(), "api".into());
                members.entry("upstreams").or_insert(json!(["http://h"]));
                Value::Object(members)
            }
            other => other,
        };
        for body in [body, json!({"service": [service], "cors": cors}), json!({"service": [service]})] {
            match ProjectDeclaration::from_json("notes", body) {
                Ok(project) => {
                    let told = project.to_json();
                    prop_assert_eq!(ProjectDeclaration::from_json("notes", told).unwrap(), project);
                }
                Err(DeclarationFaults(faults)) => prop_assert!(!faults.is_empty()),
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused_with_lines(text in "[\\[\\]a-z=\" .\\n{}0-9]{0,120}") {
        if let Err(DeclarationFaults(faults)) = Declaration::parse(&text) {
            prop_assert!(faults.iter().all(|fault| fault.line.is_some_and(|line| line <= text.lines().count() + 1)));
        }
    }
}
