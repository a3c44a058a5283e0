//! An answer of the edge's own as a text that the entry makes a response of: `aSTATUS COUNT`, then name and value of each header, a line
//! each, and then the body. It may not choose anything: what is answered is decided elsewhere.

use core::fmt::Write as _;

use shared::decide::Rendered;

/// Writes the answer; without its body for HEAD. `None` when a header has a line end, which would begin another one.
pub(crate) fn write(rendered: &Rendered, method: &str) -> Option<String> {
    let Rendered { status, headers, body } = rendered;
    let mut text = String::with_capacity(512 + body.len());
    // Writing to a String cannot fail.
    let _ = writeln!(text, "a{status} {}", headers.len());
    for (name, value) in headers {
        if value.contains(['\n', '\r', '\0']) {
            return None;
        }
        text.push_str(name);
        text.push('\n');
        text.push_str(value);
        text.push('\n');
    }
    if method != "HEAD" {
        text.push_str(body);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_takes_two_lines_and_the_body_the_rest() {
        let mut answer = Rendered {
            status: 401,
            headers: vec![("allow", String::new()), ("x-request-id", "i".into())],
            body: "a\n\nb".into(),
        };
        assert_eq!(write(&answer, "GET").unwrap(), "a401 2\nallow\n\nx-request-id\ni\na\n\nb");
        assert_eq!(write(&answer, "HEAD").unwrap(), "a401 2\nallow\n\nx-request-id\ni\n");
        answer.headers.push(("location", "https://a.test/\r\nset-cookie: x".into()));
        assert_eq!(write(&answer, "GET"), None);
    }
}
