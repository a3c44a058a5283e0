//! Decides the same kind of request a number of times, for counting instructions: `decisions SCENARIO COUNT`. All that is not
//! deciding is the same whatever the count, so that two runs can be taken from each other.

use std::{collections::BTreeMap, env, error::Error, hint::black_box};

use serde_json::json;
use shared::{
    decide::{Facts, Memory, Verdict, decide, sample},
    jwt::TokenType,
    policy::{Policy, Route},
};

/// How many tokens are signed, whatever the count.
const TOKENS: u32 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let scenario = arguments.next().ok_or("usage: decisions seen|new|refusal|big COUNT")?;
    let count: usize = arguments.next().ok_or("how many decisions?")?.parse()?;
    let policy = match scenario.as_str() {
        "big" => big(sample::policy()),
        "seen" | "new" | "refusal" => sample::policy(),
        other => return Err(format!("{other} is no scenario").into()),
    };
    let sample = sample::Sample::new(policy).map_err(|fault| format!("{fault:?}"))?;
    let mut headers: Vec<String> = tokens()?.into_iter().map(|token| format!("Bearer {token}")).collect();
    if scenario == "refusal" {
        for header in &mut headers {
            *header = header.replacen('.', "A.", 1);
        }
    }
    let mut memory = Memory::default();
    for at in 0..count {
        let header = if scenario == "new" { headers.get(at) } else { headers.first() };
        let facts = Facts {
            method: "GET",
            target: "/notes/api/items?limit=20",
            address: "192.0.2.1",
            accept: Some("application/json"),
            authorization: header.map(String::as_str),
            header_names: "accept\naccept-language\nauthorization\nhost\nuser-agent",
            header_bytes: 900,
            request_id: "0b6a2a63-9b11-4bb5-9a0d-2d1b5b1d5b0e",
            ..Facts::default()
        };
        let verdict = black_box(decide(&sample.gate(), black_box(&facts), &mut memory, sample::NOW));
        let as_expected = match verdict {
            Verdict::Upstream(_) => scenario != "refusal",
            Verdict::Refuse(_) => scenario == "refusal",
            _ => false,
        };
        if !as_expected {
            return Err(format!("{scenario}: {}", verdict.summary()).into());
        }
    }
    Ok(())
}

fn tokens() -> Result<Vec<String>, Box<dyn Error>> {
    let now = sample::NOW.seconds();
    let claims = |number: u32| {
        json!({
            "iss": sample::ISSUER, "sub": "00000000-0000-7000-8000-000000000001", "aud": format!("{}/notes", sample::ISSUER),
            "client_id": "app", "iat": now, "exp": now.saturating_add(300), "jti": format!("token-{number}"),
            "scope": "notes:read", "sid": "00000000-0000-7000-8000-000000000003", "workspace_id": "w1",
        })
    };
    let key = sample::signing_key();
    let tokens: Option<Vec<String>> =
        (0..TOKENS).map(|number| key.sign(TokenType::Access.typ(), &claims(number))).collect();
    Ok(tokens.ok_or("a token cannot be signed")?)
}

/// 10,000 clients, 1,000 routes in 100 projects, 100,000 revocations one by one.
fn big(mut policy: Policy) -> Policy {
    let later = sample::NOW.seconds().saturating_add(600);
    if let Some(client) = policy.clients.get("app").cloned() {
        policy.clients.extend((0..10_000).map(|number| (format!("client-{number:05}"), client.clone())));
    }
    let route = |number| Route { path: format!("/section-{number}/*"), ..Route::default() };
    if let Some(notes) = policy.projects.get_mut("notes") {
        for service in notes.services.values_mut() {
            service.routes = (0..10).map(route).collect();
        }
        let notes = notes.clone();
        policy.projects.extend((0..99).map(|number| (format!("project-{number:02}"), notes.clone())));
    }
    policy.revocations.tokens =
        (0..100_000).map(|number| (format!("revoked-{number}"), later)).collect::<BTreeMap<_, _>>();
    policy
}
