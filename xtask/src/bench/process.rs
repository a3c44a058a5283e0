//! What a process has used, and how busy the machine is, from `/proc`. Linux alone has it; elsewhere there is nothing to say.

use std::fs;
use std::time::Duration;

/// The kernel's clock ticks a second, fixed for user space on every platform that workerd runs on.
const TICKS_PER_SECOND: u32 = 100;

/// User CPU time of a process and its threads so far.
pub(crate) fn user_time(pid: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold spaces; utime is the twelfth field after it.
    let (_, fields) = text.rsplit_once(')')?;
    let ticks: u32 = fields.split_whitespace().nth(11)?.parse().ok()?;
    Some(Duration::from_secs(1) / TICKS_PER_SECOND * ticks)
}

/// How many tasks wanted to run over the last minute, on average.
pub(crate) fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}
