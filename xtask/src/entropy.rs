//! Randomness in xtask. The only place that draws it; used for keys and passwords of a local set-up.

use anyhow::{Context, Result};
use base64ct::{Base64UrlUnpadded, Encoding};

/// 32 fresh random bytes.
#[expect(clippy::disallowed_methods, reason = "the one place where xtask draws randomness")]
pub(crate) fn bytes32() -> Result<[u8; 32]> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(anyhow::Error::msg).context("the system gave no randomness")?;
    Ok(bytes)
}

/// 32 fresh random bytes in base64url without padding (43 characters).
pub(crate) fn base64url32() -> Result<String> {
    Ok(Base64UrlUnpadded::encode_string(&bytes32()?))
}
