//! Forms of an HTML page, read as a browser without a screen would: fields with their values, buttons, where to send it.
//! Reads the gateway's own well-formed pages, not the web.

/// A form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    /// Where it goes; empty means the page's own address.
    pub(crate) action: String,
    /// `get` or `post`.
    pub(crate) method: String,
    pub(crate) fields: Vec<Field>,
    /// Buttons that send it, with the name and value that they add.
    pub(crate) buttons: Vec<Field>,
}

/// A field or a button.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) kind: String,
    pub(crate) autocomplete: String,
}

impl Form {
    /// The field of a kind, or with a purpose that `autocomplete` names.
    pub(crate) fn field(&self, kind_or_purpose: &str) -> Option<&Field> {
        self.fields
            .iter()
            .find(|field| field.kind == kind_or_purpose || field.autocomplete == kind_or_purpose)
    }

    /// The button that adds this value.
    pub(crate) fn button(&self, value: &str) -> Option<&Field> {
        self.buttons.iter().find(|button| button.value == value)
    }
}

/// All forms of a page, in order.
pub(crate) fn forms(html: &str) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    let mut inside = false;
    for tag in html.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
        let (name, attributes) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
        let attributes = parse_attributes(attributes);
        let get = |wanted: &str| {
            attributes
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.clone())
                .unwrap_or_default()
        };
        let field = |kind: String| Field {
            name: get("name"),
            value: get("value"),
            kind,
            autocomplete: get("autocomplete"),
        };
        match name.to_ascii_lowercase().as_str() {
            "form" => {
                inside = true;
                forms.push(Form {
                    action: get("action"),
                    method: get("method").to_lowercase(),
                    ..Form::default()
                });
            }
            "/form" => inside = false,
            "input" if inside => {
                if let Some(form) = forms.last_mut() {
                    form.fields.push(field(get("type")));
                }
            }
            "button" if inside && get("type") != "button" => {
                if let Some(form) = forms.last_mut() {
                    form.buttons.push(field("submit".to_owned()));
                }
            }
            _ => {}
        }
    }
    forms
}

/// `name="value"` pairs; a name alone has an empty value.
fn parse_attributes(text: &str) -> Vec<(String, String)> {
    let mut attributes = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|sign: char| sign == '=' || sign.is_whitespace()).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let (value, after) = match after.strip_prefix("=\"") {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.strip_prefix('=').map_or(("", after), |bare| {
                bare.split_at(bare.find(char::is_whitespace).unwrap_or(bare.len()))
            }),
        };
        if !name.is_empty() {
            attributes.push((name.to_ascii_lowercase(), unescape(value)));
        }
        rest = after.trim_start();
    }
    attributes
}

/// The character references that escaping a template's values makes.
fn unescape(text: &str) -> String {
    let pairs = [
        ("&#34;", "\""),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&#60;", "<"),
        ("&lt;", "<"),
        ("&#62;", ">"),
        ("&gt;", ">"),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ];
    // The ampersand last, or `&amp;lt;` would turn into `<`.
    pairs.iter().fold(text.to_owned(), |text, (reference, sign)| text.replace(reference, sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_fields_buttons_and_purposes_are_read() {
        let html = r#"<input name="outside"><form method="post" action="/consent?a=1&amp;b=2">
            <input type="hidden" name="csrf" value="a&#34;b&amp;lt;">
            <input name=code autocomplete="one-time-code" required>
            <button name="decision" value="deny">No</button><button type="submit" name="decision" value="allow">Yes</button>
            <button type="button" name="x">?</button></form><form action="/sign-out"></form>"#;
        let found = forms(html);
        assert_eq!(found.len(), 2);
        let form = &found[0];
        assert_eq!((form.action.as_str(), form.method.as_str()), ("/consent?a=1&b=2", "post"));
        assert_eq!(form.field("hidden").unwrap().value, "a\"b&lt;");
        assert_eq!(form.field("one-time-code").unwrap().name, "code");
        assert_eq!(form.button("allow").unwrap().name, "decision");
        assert_eq!((form.fields.len(), form.buttons.len()), (2, 2));
    }

    #[test]
    fn damaged_pages_do_not_hang() {
        for html in ["<form action=\"", "<form a= b", "<input", "<", "", "<form =\"x\">"] {
            let _ = forms(html);
        }
    }
}
