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
