//! The desk between the entry and this module: bytes that one writes and the other reads, in place of strings and handles that the
//! glue would copy and count. What lies on it belongs to whoever speaks; it may not be read after that.

use std::cell::Cell;

/// Room for a request's head and form, and for the text that comes back. What does not fit goes the long way.
pub(crate) const BYTES: usize = 160 * 1024;

thread_local! {
    static DESK: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Where the desk stands in this module's memory; there is one afterwards.
pub(crate) fn address() -> usize {
    let desk = DESK.take().unwrap_or_else(|| vec![0; BYTES].into_boxed_slice());
    let address = desk.as_ptr() as usize;
    DESK.set(Some(desk));
    address
}

/// Lets `work` read what lies on the desk, and puts the text that it gives there instead: how many bytes that has, none where there is
/// nothing to say, or no room to say it.
pub(crate) fn exchange(work: impl FnOnce(&[u8]) -> Option<String>) -> usize {
    // A request that was killed half-way took the desk with it: the entry asks for its place again.
    let Some(mut desk) = DESK.take() else { return 0 };
    let text = work(&desk);
    let said = text.and_then(|text| {
        desk.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(text.len())
    });
    DESK.set(Some(desk));
    said.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_takes_the_place_of_what_was_read() {
        assert_eq!(exchange(|_| Some("lost".into())), 0);
        let first = address();
        assert_eq!(exchange(|desk| (desk.len() == BYTES).then(|| "answer".into())), 6);
        assert_eq!(exchange(|desk| String::from_utf8(desk.get(..6)?.to_vec()).ok()), 6);
        assert_eq!(exchange(|_| None), 0);
        assert_eq!(exchange(|_| Some("x".repeat(BYTES + 1))), 0);
        assert_eq!(address(), first);
    }
}
