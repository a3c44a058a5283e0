//! Runs the corpus of `shared` and gives the outcome as text, natively and in wasm alike, so that the two can be compared
//! word by word. Decides nothing.

use wasm_bindgen::prelude::wasm_bindgen;

/// JSON of the corpus' outcome: `{"verdicts": ["name: verdict", …], "failures": […]}`, or `{"unreadable": "why"}`.
#[wasm_bindgen]
pub fn run_corpus() -> String {
    let outcome = match shared::corpus::run(shared::corpus::CORPUS) {
        Ok(report) => serde_json::json!({ "verdicts": report.verdicts, "failures": report.failures }),
        Err(why) => serde_json::json!({ "unreadable": why }),
    };
    outcome.to_string()
}

/// JSON of the policy that the corpus is judged by, and of API keys for its cases: `{"policy": …, "live_keys": […]}`.
#[must_use]
pub fn sample() -> String {
    let live_keys: Vec<String> = (0..=u8::MAX).map(shared::corpus::live_key).collect();
    serde_json::json!({ "policy": shared::decide::sample::policy(), "live_keys": live_keys }).to_string()
}
