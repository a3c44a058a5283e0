//! Whether a credential is revoked, with the origin's confirmation of what only the filter says. It may not refuse as revoked for a
//! filter's hit alone, nor let through what the origin was not heard on.

use alloc::{string::String, vec::Vec};

use sha2::{Digest as _, Sha256};

use super::{Answer, ConfirmationQuestion, Facts, Gate, Memory, Refusal, Verdict, endpoint_of};
use crate::{
    policy::{Judgement, Revocable},
    problem::ProblemType,
    revocation_statement::RevocationStatement,
};

/// Lets through what is not revoked; otherwise the refusal, or the question to the origin that decides.
pub(super) fn refuse_revoked(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    what: &Revocable<'_>,
) -> Result<(), Verdict> {
    match gate.active.revocation_of(what) {
        Judgement::Clear => Ok(()),
        Judgement::Covered => Err(revoked()),
        Judgement::Ask(entries) => confirm(gate, facts, memory, entries),
    }
}

fn revoked() -> Verdict {
    Verdict::Refuse(Refusal::invalid_token(
        ProblemType::TokenRevoked,
        "The token, its session, its subject or its client was revoked.",
    ))
}

fn confirm(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    entries: Vec<String>,
) -> Result<(), Verdict> {
    let filter = gate.active.filter_name().unwrap_or_default();
    let answer = facts.looked_up.confirmation;
    let statement = answer.and_then(|answer| heard(gate, answer));
    let is_about_another = statement.as_ref().is_some_and(|statement| statement.filter != filter);
    if let Some(statement) = statement.filter(|statement| statement.filter == filter) {
        for entry in &entries {
            if let Some(is_revoked) = statement.says(entry) {
                memory.confirm(Memory::confirmation_key(filter, entry), is_revoked);
            }
        }
    }
    let mut open = Vec::new();
    for entry in entries {
        match memory.confirmed(&Memory::confirmation_key(filter, &entry)) {
            Some(true) => return Err(revoked()),
            Some(false) => {}
            None => open.push(entry),
        }
    }
    if open.is_empty() {
        Ok(())
    } else if answer.is_none() || is_about_another {
        // Not asked yet, or the policy was replaced while the origin was being asked.
        Err(Verdict::NeedsConfirmation(ConfirmationQuestion { filter: filter.into(), entries: open }))
    } else {
        Err(Verdict::Refuse(Refusal::outage(
            ProblemType::OriginUnavailable,
            endpoint_of(facts.target),
            facts,
            "Whether the token is revoked must be asked of the origin, which did not answer. Try again in a moment.",
        )))
    }
}

/// The origin's statement, if that is what the answer is.
fn heard(gate: &Gate<'_>, answer: Answer<'_>) -> Option<RevocationStatement> {
    let Answer::Statement(statement) = answer else { return None };
    let statement = RevocationStatement::verify(statement, gate.origin_key).ok()?;
    (statement.iss == gate.active.policy.issuer).then_some(statement)
}

impl Memory {
    /// The key under which the origin's word on an entry is remembered: with the filter it is about, so that another filter's hit is
    /// asked about anew.
    fn confirmation_key(filter: &str, entry: &str) -> [u8; 32] {
        // A filter's name has no line feed.
        Sha256::new().chain_update(filter).chain_update(b"\n").chain_update(entry).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString as _, sync::Arc, vec};

    use super::super::{LookedUp, sample};
    use super::*;
    use crate::{
        jwt::SigningKey,
        policy::{FilterName, RevocationFilter, entry_hash},
    };

    /// A gateway whose filter has `jti:revoked` and is hit by `jti:valid` as well.
    fn gateway() -> sample::Sample {
        let hashes = vec![entry_hash("jti", "revoked"), entry_hash("jti", "valid")];
        let filter = RevocationFilter::build(hashes, [], 0).unwrap();
        let mut policy = sample::policy();
        policy.revocations.filter = Some(FilterName::from(&filter));
        sample::Sample::with_filter(policy, Some(Arc::new(filter))).unwrap()
    }

    fn judge(
        gateway: &sample::Sample,
        memory: &mut Memory,
        token: &str,
        answer: Option<Answer<'_>>,
    ) -> String {
        let what = Revocable { token, grant: None, subject: None, client: None, issued_at: 0 };
        let facts = Facts {
            target: "/notes/api/x",
            looked_up: LookedUp { confirmation: answer, ..LookedUp::default() },
            ..Facts::default()
        };
        match refuse_revoked(&gateway.gate(), &facts, memory, &what) {
            Ok(()) => "clear".into(),
            Err(verdict) => verdict.summary(),
        }
    }

    fn statement(
        gateway: &sample::Sample,
        key: &SigningKey,
        change: impl FnOnce(&mut RevocationStatement),
    ) -> String {
        let entries = vec!["jti:revoked".to_string(), "jti:valid".to_string()];
        let mut statement = RevocationStatement {
            iss: sample::ISSUER.into(),
            made_at: sample::NOW,
            filter: gateway.gate().active.filter_name().unwrap().into(),
            revoked: entries[..1].to_vec(),
            entries,
        };
        change(&mut statement);
        statement.sign(key).unwrap()
    }

    #[test]
    fn a_hit_is_asked_about_once_and_both_answers_are_remembered() {
        let gateway = gateway();
        let good = statement(&gateway, &sample::origin_key(), |_| ());
        for (token, expected) in [("revoked", "refuse 401 token-revoked"), ("valid", "clear")] {
            let mut memory = Memory::default();
            assert_eq!(judge(&gateway, &mut memory, token, None), "needs confirmation");
            assert_eq!(judge(&gateway, &mut memory, token, Some(Answer::Statement(&good))), expected);
            assert_eq!(judge(&gateway, &mut memory, token, None), expected);
        }
    }

    #[test]
    fn without_the_origins_word_nobody_is_let_through_and_nobody_called_revoked() {
        let gateway = gateway();
        let origin = sample::origin_key();
        let bad = [
            statement(&gateway, &SigningKey::from_seed("policy", &[9; 32]), |_| ()),
            statement(&gateway, &sample::edge_key(), |_| ()),
            statement(&gateway, &origin, |statement| statement.iss = "https://evil.test".into()),
            statement(&gateway, &origin, |statement| statement.entries.clear()),
            statement(&gateway, &origin, |statement| statement.entries = vec!["grant:valid".into()]),
            String::new(),
        ];
        let answers = bad.iter().map(|bad| Answer::Statement(bad)).chain([Answer::Unavailable]);
        for answer in answers {
            for token in ["revoked", "valid"] {
                let mut memory = Memory::default();
                assert_eq!(
                    judge(&gateway, &mut memory, token, Some(answer)),
                    "refuse 503 origin-unavailable",
                    "{answer:?}"
                );
                assert_eq!(judge(&gateway, &mut memory, token, None), "needs confirmation", "{answer:?}");
            }
        }
        // Of another filter: the policy was replaced meanwhile.
        let other = statement(&gateway, &origin, |statement| statement.filter = "other".into());
        let answer = Some(Answer::Statement(&other));
        assert_eq!(judge(&gateway, &mut Memory::default(), "valid", answer), "needs confirmation");
    }
}
