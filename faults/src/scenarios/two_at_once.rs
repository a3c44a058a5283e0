//! Two `gateward forward --once` at the same time: both end well, and between them each event is delivered once.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{append, check};
use crate::stage::Stage;

pub(super) async fn play(stage: &Stage) -> Result<String> {
    let acknowledged = append(stage, 0xB0, 400).await?;
    let arguments = ["forward", "--once", "--json", "--destination", "read-database"];
    let (one, other) = tokio::join!(stage.gateward(&arguments), stage.gateward(&arguments));
    let mut delivered = Vec::new();
    for output in [one?, other?] {
        let told: Value = serde_json::from_slice(&output.stdout).context("it printed no JSON")?;
        delivered.push(sum_of("delivered", &told));
    }
    // Whatever else is a destination.
    stage.gateward(&["forward", "--once"]).await?;
    check(stage, &acknowledged).await?;
    ensure!(delivered.iter().sum::<u64>() >= 400, "they say that they delivered {delivered:?}");
    Ok(format!(
        "one delivered {} and the other {}",
        delivered.first().unwrap_or(&0),
        delivered.last().unwrap_or(&0)
    ))
}

/// The sum of a member wherever it stands.
fn sum_of(member: &str, value: &Value) -> u64 {
    match value {
        Value::Object(map) => map
            .iter()
            .map(
                |(name, value)| {
                    if name == member { value.as_u64().unwrap_or(0) } else { sum_of(member, value) }
                },
            )
            .sum(),
        Value::Array(items) => items.iter().map(|item| sum_of(member, item)).sum(),
        _ => 0,
    }
}
