//! Places where a process of the fault tests ends as if it had been killed. Only a build with the feature `failpoints` has them, and a
//! release build with that feature does not compile: what runs anywhere but in a test holds not even the name of the variable.
//!
//! `GATEWARD_FAILPOINTS=forwarder.after_delivery=3` ends the process the third time it comes by; several are separated by commas.

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!("failpoints are for tests: build without the feature `failpoints`, or without optimisation");

/// Ends the process here, if this is the time that was asked for. Nothing without the feature.
#[inline]
pub(crate) fn reach(name: &'static str) {
    #[cfg(feature = "failpoints")]
    armed::reach(name);
    #[cfg(not(feature = "failpoints"))]
    let _ = name;
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::collections::BTreeMap;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// How many more times each may be passed.
    static ARMED: OnceLock<BTreeMap<String, AtomicU64>> = OnceLock::new();

    pub(super) fn reach(name: &'static str) {
        let armed = ARMED.get_or_init(|| {
            let text = std::env::var("GATEWARD_FAILPOINTS").unwrap_or_default();
            let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
            pairs
                .filter_map(|(name, times)| Some((name.to_owned(), AtomicU64::new(times.parse().ok()?))))
                .collect()
        });
        let Some(left) = armed.get(name) else { return };
        if left.fetch_sub(1, Ordering::SeqCst) == 1 {
            eprintln!("failpoint {name}: ending here");
            // No destructor runs and no buffer is written out, as after SIGKILL.
            std::process::abort();
        }
    }
}
