//! The policy's last good copy, where the platform has a key-value store: for an isolate that starts while the origin does not answer. It
//! may not put anything in force: what is read goes the way of every policy, and is no younger for having been kept.
//!
//! One value: a line with the time from which its age counts (Unix milliseconds), the statement's line, and then content and filter as
//! the origin sends them.

use std::rc::Rc;

use js_sys::{Array, Function, Object, Promise, Reflect, Uint8Array};
use shared::{policy::RevocationFilter, time::UnixMillis};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::WorkerGlobalScope;

use crate::{clock, configuration::POLICY_STORE, isolate};

const KEY: &str = "policy";
/// How long the store may take to give the copy, in milliseconds.
const READ_MILLIS: i32 = 1_000;
/// A changed policy is written again after so long at the earliest, in milliseconds; stores bound how often one key may be written.
const CHANGED_MILLIS: u64 = 5_000;
/// One that was only confirmed is written again after so long, in milliseconds: its age counts against the hard limit.
const CONFIRMED_MILLIS: u64 = 60_000;

/// What is written when it is time.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(crate) version: u64,
    pub(crate) made_at: UnixMillis,
    pub(crate) statement: String,
    pub(crate) content: Rc<[u8]>,
    /// What was written last by this isolate, and when.
    pub(crate) written: Option<(u64, UnixMillis)>,
}

/// A copy as it was read.
#[derive(Debug)]
pub(crate) struct Found {
    /// When it began to age at the latest.
    pub(crate) made_at: UnixMillis,
    pub(crate) statement: String,
    /// Content and filter.
    pub(crate) body: Vec<u8>,
}

impl Copy {
    fn is_due(&self, now: UnixMillis) -> bool {
        self.written.is_none_or(|(version, at)| {
            let interval = if version == self.version { CONFIRMED_MILLIS } else { CHANGED_MILLIS };
            now.since(at) >= interval
        })
    }

    fn write(&self, filter: Option<&RevocationFilter>) -> Vec<u8> {
        let mut value = format!("{}\n{}\n", self.made_at.0, self.statement).into_bytes();
        value.extend_from_slice(&self.content);
        if let Some(filter) = filter {
            value.push(b'\n');
            value.extend_from_slice(filter.bytes());
        }
        value
    }
}

fn parse(value: &[u8]) -> Option<Found> {
    let mut lines = value.splitn(3, |byte| *byte == b'\n');
    let (made_at, statement, body) = (lines.next()?, lines.next()?, lines.next()?);
    Some(Found {
        made_at: UnixMillis(str::from_utf8(made_at).ok()?.parse().ok()?),
        statement: str::from_utf8(statement).ok()?.to_owned(),
        body: body.to_vec(),
    })
}

/// Reads the copy, if there is one.
pub(crate) async fn read(env: &Object) -> Option<Found> {
    let (found, outcome) = match value_of(env).await {
        Ok(Some(value)) => match parse(&value) {
            Some(found) => (Some(found), "answered"),
            None => (None, "unreadable"),
        },
        Ok(None) => (None, "absent"),
        Err(fault) => {
            report("did not give its copy of the policy", fault);
            (None, "unavailable")
        }
    };
    isolate::with_counters(|counters| counters.look_up("policy_store", outcome));
    found
}

async fn value_of(env: &Object) -> Result<Option<Vec<u8>>, JsValue> {
    let asked = call(env, "get", &KEY.into(), &"arrayBuffer".into())?;
    let value = JsFuture::from(Promise::race(&Array::of2(&asked, &late()))).await?;
    match value.dyn_into::<js_sys::ArrayBuffer>() {
        Ok(buffer) => Ok(Some(Uint8Array::new(&buffer).to_vec())),
        Err(other) if other.is_null() => Ok(None),
        Err(_) => Err("it did not answer in time".into()),
    }
}

/// Writes the copy, when it is time.
pub(crate) async fn write_if_due(env: &Object) {
    let now = clock::now();
    let Some(copy) = isolate::last_good().filter(|copy| copy.is_due(now)) else { return };
    let Some(in_force) = isolate::in_force().filter(|in_force| in_force.policy.version == copy.version)
    else {
        return;
    };
    // Before it is written: one that fails is not tried again at once.
    isolate::note_last_good(Some(Copy { written: Some((copy.version, now)), ..copy.clone() }));
    let value = Uint8Array::from(copy.write(in_force.policy.filter().map(|filter| &**filter)).as_slice());
    let written = match call(env, "put", &KEY.into(), &value) {
        Ok(written) => JsFuture::from(written).await,
        Err(fault) => Err(fault),
    };
    let outcome = match written {
        Ok(_) => "written",
        Err(fault) => {
            report("did not take a copy of the policy", fault);
            "not_written"
        }
    };
    isolate::with_counters(|counters| counters.look_up("policy_store", outcome));
}

/// Whether there is something to write.
pub(crate) fn is_due(now: UnixMillis) -> bool {
    isolate::last_good().is_some_and(|copy| copy.is_due(now))
}

fn call(env: &Object, method: &str, first: &JsValue, second: &JsValue) -> Result<Promise, JsValue> {
    let store = Reflect::get(env, &POLICY_STORE.into())?;
    let method: Function = Reflect::get(&store, &method.into())?.dyn_into()?;
    method.call2(&store, first, second)?.dyn_into()
}

/// A promise of nothing, kept when the time is over.
fn late() -> Promise {
    Promise::new(&mut |resolve, _| {
        let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
        // Without a timer there is no limit of time, which is no reason to do without the copy.
        let _ = scope.set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, READ_MILLIS);
    })
}

fn report(what: &str, fault: JsValue) {
    worker_sys::console_error!("the policy store {what}: {}", String::from(Object::from(fault).to_string()));
}

#[cfg(test)]
mod tests {
    use shared::policy::entry_hash;

    use super::*;

    fn copy(written: Option<(u64, UnixMillis)>) -> Copy {
        Copy {
            version: 7,
            made_at: UnixMillis(5),
            statement: "a.b.c".into(),
            content: Rc::from(*b"{}"),
            written,
        }
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let filter = RevocationFilter::build(vec![entry_hash("jti", "t")], [], 0).unwrap();
        for filter in [None, Some(&filter)] {
            let found = parse(&copy(None).write(filter)).unwrap();
            let mut body = b"{}".to_vec();
            if let Some(filter) = filter {
                body.push(b'\n');
                body.extend_from_slice(filter.bytes());
            }
            assert_eq!((found.made_at, found.statement.as_str(), found.body), (UnixMillis(5), "a.b.c", body));
        }
        for damaged in [&b""[..], b"5", b"5\na.b.c", b"x\na.b.c\n{}", b"5\n\xff\n{}"] {
            assert!(parse(damaged).is_none());
        }
    }

    #[test]
    fn a_change_is_written_soon_and_a_confirmation_now_and_then() {
        let now = UnixMillis(1_000_000);
        let ago = |millis: u64| UnixMillis(now.0 - millis);
        assert!(copy(None).is_due(now));
        assert!(!copy(Some((6, ago(4_999)))).is_due(now));
        assert!(copy(Some((6, ago(5_000)))).is_due(now));
        assert!(!copy(Some((7, ago(59_999)))).is_due(now));
        assert!(copy(Some((7, ago(60_000)))).is_due(now));
    }
}
