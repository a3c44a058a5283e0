//! How often one address may be mailed a code and guessed at, over all challenges and browsers. Exact: the counters are rows. The key
//! is a hash, never an address.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use shared::gcra::Quota;

use super::EmailAddress;
use crate::database::{DatabaseError, Scope};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// A code is mailed.
    CodeSent,
    /// A code is guessed, rightly or wrongly.
    Guess,
}

impl Counted {
    /// The quota of one address.
    pub(super) const fn quota(self) -> Quota {
        match self {
            Self::CodeSent => Quota { requests: 5, window_seconds: 900 },
            Self::Guess => Quota { requests: 10, window_seconds: 3_600 },
        }
    }

    const fn name(self) -> &'static [u8] {
        match self {
            Self::CodeSent => b"sign-in code sent",
            Self::Guess => b"sign-in guess",
        }
    }
}

/// The quota is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LimitReached {
    /// Seconds until one more would pass.
    pub(super) retry_after_seconds: u64,
}

/// Counts one against the quota, in this transaction: what is rolled back was not counted.
pub(super) async fn charge(
    scope: &mut Scope,
    counted: Counted,
    email: &EmailAddress,
) -> Result<Result<(), LimitReached>, DatabaseError> {
    let now = scope.clock().now();
    let Quota { requests, window_seconds } = counted.quota();
    let (window, interval) = (f64::from(window_seconds), f64::from(window_seconds) / f64::from(requests));
    let key = key_of(counted, email);
    // The Generic Cell Rate Algorithm in one statement; the row's lock puts parallel requests in order.
    let passed = sqlx::query(
        "INSERT INTO rate_limits AS held (key, tat) VALUES ($1, $2 + make_interval(secs => $3))
         ON CONFLICT (key) DO UPDATE SET tat = greatest(held.tat, $2) + make_interval(secs => $3)
         WHERE greatest(held.tat, $2) + make_interval(secs => $3) <= $2 + make_interval(secs => $4)",
    )
    .bind(&key[..])
    .bind(now)
    .bind(interval)
    .bind(window)
    .execute(scope.connection())
    .await?
    .rows_affected();
    if passed == 1 {
        return Ok(Ok(()));
    }
    let wait: f64 = sqlx::query_scalar(
        "SELECT extract(epoch FROM tat + make_interval(secs => $3) - make_interval(secs => $4) - $2)::float8
         FROM rate_limits WHERE key = $1",
    )
    .bind(&key[..])
    .bind(now)
    .bind(interval)
    .bind(window)
    .fetch_one(scope.connection())
    .await?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a window")]
    let retry_after_seconds = wait.ceil().clamp(1.0, window) as u64;
    Ok(Err(LimitReached { retry_after_seconds }))
}

fn key_of(counted: Counted, email: &EmailAddress) -> [u8; 32] {
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(counted.name()) else { return [0; 32] };
    mac.chain_update(email.as_str().as_bytes()).finalize().into_bytes().into()
}
