//! The edge's one source of randomness. It may not be drawn from anywhere else: randomness is an argument.

/// Sixteen random bytes; `None` when the platform gives none, as outside of a request.
pub(crate) fn bytes16() -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    #[expect(clippy::disallowed_methods, reason = "the one place where the edge draws randomness")]
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}
