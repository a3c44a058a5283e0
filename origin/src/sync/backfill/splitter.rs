//! Cuts rows out of a body that comes piece by piece. It holds one row at most, of bounded length, and does not judge what is in it:
//! of JSON it follows strings and brackets, so that a row that is bad inside does not hide where the next begins.

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One a line (NDJSON); empty lines do not count.
    Lines,
    /// Elements of an array: the document, or its member `keys`.
    Json,
}

/// A row, as it stands in the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RawRow {
    /// Its bytes.
    Whole(Vec<u8>),
    /// It is longer than rows may be.
    TooLong,
}

/// The body is not of its format from here on: where the next row begins cannot be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken(pub(super) &'static str);

/// Where in a document of JSON we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before it.
    Start,
    /// Before an element; `may_end` right after the opening bracket.
    BeforeRow { may_end: bool },
    /// In an element.
    InRow(Nesting),
    /// After an element.
    AfterRow,
    /// Before a member of the document; `may_end` right after the opening brace.
    BeforeMember { may_end: bool },
    /// In a member's name.
    InName { is_escaped: bool },
    /// Between a member's name and its value.
    BeforeColon,
    /// Before a member's value.
    BeforeValue,
    /// In a value that is no business of ours.
    InValue(Nesting),
    /// After a member.
    AfterMember,
    /// After the document.
    End,
}

/// How deep in a value we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Nesting {
    depth: u32,
    in_string: bool,
    is_escaped: bool,
}

/// What a byte does to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It belongs to it.
    Inside(Nesting),
    /// It is its last.
    Last,
    /// It comes after it.
    After,
}

impl Nesting {
    /// A value that begins with this byte; `None` when none does.
    fn begin(byte: u8) -> Option<Self> {
        match byte {
            b'{' | b'[' => Some(Self { depth: 1, in_string: false, is_escaped: false }),
            b'"' => Some(Self { depth: 0, in_string: true, is_escaped: false }),
            b'}' | b']' | b',' | b':' => None,
            _ => Some(Self { depth: 0, in_string: false, is_escaped: false }),
        }
    }

    fn step(self, byte: u8) -> Step {
        if self.in_string {
            return match byte {
                _ if self.is_escaped => Step::Inside(Self { is_escaped: false, ..self }),
                b'\\' => Step::Inside(Self { is_escaped: true, ..self }),
                b'"' if self.depth == 0 => Step::Last,
                b'"' => Step::Inside(Self { in_string: false, ..self }),
                _ => Step::Inside(self),
            };
        }
        match byte {
            // A number or a word ends with what cannot belong to it.
            b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r' if self.depth == 0 => Step::After,
            b'{' | b'[' => Step::Inside(Self { depth: self.depth.saturating_add(1), ..self }),
            b'}' | b']' if self.depth == 1 => Step::Last,
            b'}' | b']' => Step::Inside(Self { depth: self.depth.saturating_sub(1), ..self }),
            b'"' => Step::Inside(Self { in_string: true, ..self }),
            _ => Step::Inside(self),
        }
    }
}

/// The longest name of a member of the document.
const LONGEST_NAME: usize = 256;
/// The member that holds the rows, as it is written.
const KEYS: &[u8] = b"keys";

/// The cutter.
pub(super) struct Splitter {
    format: Format,
    place: Place,
    /// The document is an object, which goes on after its rows.
    is_object: bool,
    had_rows: bool,
    /// The row that is being read, or the name of a member.
    row: Vec<u8>,
    is_too_long: bool,
    longest: usize,
}

impl Splitter {
    pub(super) fn new(format: Format, longest: usize) -> Self {
        Self {
            format,
            place: Place::Start,
            is_object: false,
            had_rows: false,
            row: Vec::new(),
            is_too_long: false,
            longest,
        }
    }

    /// Takes the next piece; rows that are whole with it are put at the end of `rows`, also when it breaks.
    pub(super) fn push(&mut self, piece: &[u8], rows: &mut Vec<RawRow>) -> Result<(), Broken> {
        for byte in piece {
            match self.format {
                Format::Lines if *byte == b'\n' => rows.extend(self.end_line()),
                Format::Lines => self.keep(*byte),
                Format::Json => self.take(*byte, rows)?,
            }
        }
        Ok(())
    }

    /// Nothing more comes: the last line, where lines are rows.
    pub(super) fn finish(&mut self) -> Result<Option<RawRow>, Broken> {
        match (self.format, self.place) {
            (Format::Lines, _) => Ok(self.end_line()),
            (Format::Json, Place::End) if self.had_rows => Ok(None),
            (Format::Json, Place::End) => Err(Broken("the document has no array \"keys\"")),
            (Format::Json, _) => Err(Broken("the document ends before it is whole")),
        }
    }

    /// Whether something of a row has come that is not whole.
    pub(super) fn is_in_row(&self) -> bool {
        match self.format {
            Format::Lines => self.is_too_long || !is_blank(&self.row),
            Format::Json => matches!(self.place, Place::InRow(_)),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.row.len() < self.longest {
            self.row.push(byte);
        } else {
            self.is_too_long = true;
        }
    }

    fn end_row(&mut self) -> RawRow {
        let row = std::mem::take(&mut self.row);
        if std::mem::take(&mut self.is_too_long) { RawRow::TooLong } else { RawRow::Whole(row) }
    }

    fn end_line(&mut self) -> Option<RawRow> {
        if !self.is_too_long && is_blank(&self.row) {
            self.row.clear();
            return None;
        }
        Some(self.end_row())
    }

    fn take(&mut self, byte: u8, rows: &mut Vec<RawRow>) -> Result<(), Broken> {
        let is_space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.place = match self.place {
            Place::InRow(nesting) => match nesting.step(byte) {
                Step::Inside(nesting) => {
                    self.keep(byte);
                    Place::InRow(nesting)
                }
                Step::Last => {
                    self.keep(byte);
                    rows.push(self.end_row());
                    Place::AfterRow
                }
                Step::After => {
                    rows.push(self.end_row());
                    self.place = Place::AfterRow;
                    return self.take(byte, rows);
                }
            },
            Place::InValue(nesting) => match nesting.step(byte) {
                Step::Inside(nesting) => Place::InValue(nesting),
                Step::Last => Place::AfterMember,
                Step::After => {
                    self.place = Place::AfterMember;
                    return self.take(byte, rows);
                }
            },
            Place::InName { is_escaped } => self.take_of_name(byte, is_escaped)?,
            place if is_space => place,
            Place::Start => match byte {
                b'[' => Place::BeforeRow { may_end: true },
                b'{' => {
                    self.is_object = true;
                    Place::BeforeMember { may_end: true }
                }
                _ => return Err(Broken("the document is neither an array nor an object")),
            },
            Place::BeforeRow { may_end } => match (byte, Nesting::begin(byte)) {
                (b']', _) if may_end => self.end_rows(),
                (_, Some(nesting)) => {
                    self.keep(byte);
                    Place::InRow(nesting)
                }
                _ => return Err(Broken("a row is missing between two commas")),
            },
            Place::AfterRow => match byte {
                b',' => Place::BeforeRow { may_end: false },
                b']' => self.end_rows(),
                _ => return Err(Broken("a row is not followed by a comma or the end of the array")),
            },
            Place::BeforeMember { may_end } => match byte {
                b'}' if may_end => Place::End,
                b'"' => Place::InName { is_escaped: false },
                _ => return Err(Broken("a member's name is missing")),
            },
            Place::BeforeColon if byte == b':' => Place::BeforeValue,
            Place::BeforeColon => return Err(Broken("a member's name is not followed by a colon")),
            Place::BeforeValue => {
                let name = std::mem::take(&mut self.row);
                match (byte, Nesting::begin(byte)) {
                    (b'[', _) if name == KEYS && self.had_rows => {
                        return Err(Broken("the document has \"keys\" twice"));
                    }
                    (b'[', _) if name == KEYS => Place::BeforeRow { may_end: true },
                    (_, Some(_)) if name == KEYS => return Err(Broken("\"keys\" is no array")),
                    (_, Some(nesting)) => Place::InValue(nesting),
                    _ => return Err(Broken("a member's value is missing")),
                }
            }
            Place::AfterMember => match byte {
                b',' => Place::BeforeMember { may_end: false },
                b'}' => Place::End,
                _ => return Err(Broken("a member is not followed by a comma or the end of the document")),
            },
            Place::End => return Err(Broken("something follows the document")),
        };
        Ok(())
    }

    fn take_of_name(&mut self, byte: u8, is_escaped: bool) -> Result<Place, Broken> {
        if !is_escaped && byte == b'"' {
            return Ok(Place::BeforeColon);
        }
        if self.row.len() >= LONGEST_NAME {
            return Err(Broken("a member's name is longer than 256 bytes"));
        }
        self.row.push(byte);
        Ok(Place::InName { is_escaped: !is_escaped && byte == b'\\' })
    }

    fn end_rows(&mut self) -> Place {
        self.had_rows = true;
        if self.is_object { Place::AfterMember } else { Place::End }
    }
}

fn is_blank(row: &[u8]) -> bool {
    row.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Splits a body that comes in pieces of this length.
    fn split(format: Format, body: &[u8], piece: usize) -> (Vec<RawRow>, Result<(), Broken>) {
        let mut splitter = Splitter::new(format, 64);
        let mut rows = Vec::new();
        for piece in body.chunks(piece.max(1)) {
            if let Err(broken) = splitter.push(piece, &mut rows) {
                return (rows, Err(broken));
            }
        }
        match splitter.finish() {
            Ok(last) => {
                rows.extend(last);
                (rows, Ok(()))
            }
            Err(broken) => (rows, Err(broken)),
        }
    }

    fn texts(rows: Vec<RawRow>) -> Vec<String> {
        rows.into_iter()
            .map(|row| match row {
                RawRow::Whole(bytes) => String::from_utf8(bytes).unwrap(),
                RawRow::TooLong => "(too long)".to_owned(),
            })
            .collect()
    }

    fn good(format: Format, body: &str) -> Vec<String> {
        let (rows, outcome) = split(format, body.as_bytes(), 3);
        assert_eq!(outcome, Ok(()), "{body}");
        texts(rows)
    }

    fn broken(body: &str) -> (Vec<String>, &'static str) {
        let (rows, outcome) = split(Format::Json, body.as_bytes(), 3);
        (texts(rows), outcome.unwrap_err().0)
    }

    #[test]
    fn lines_are_rows_and_empty_ones_are_not() {
        assert_eq!(good(Format::Lines, "{\"a\":1}\n\n  \r\n{bad\r\n[2]"), ["{\"a\":1}", "{bad\r", "[2]"]);
        assert_eq!(good(Format::Lines, ""), Vec::<String>::new());
        let long = format!("{}\n{{}}\n", "x".repeat(65));
        assert_eq!(good(Format::Lines, &long), ["(too long)", "{}"]);
        assert_eq!(good(Format::Lines, &"x".repeat(64)), ["x".repeat(64)]);
    }

    #[test]
    fn an_array_or_its_member_keys_has_the_rows() {
        for body in [
            "[{\"a\":\"]},{\\\"\"},[1,[2]], 3 ,\"x\\\\\",null]",
            " {\"source\" : {\"keys\":[9]}, \"n\":1,\"keys\" :[{\"a\":\"]},{\\\"\"},[1,[2]], 3 ,\"x\\\\\",null], \"s\":\"]\"} \n",
        ] {
            assert_eq!(
                good(Format::Json, body),
                ["{\"a\":\"]},{\\\"\"}", "[1,[2]]", "3", "\"x\\\\\"", "null"]
            );
        }
        for body in ["[]", "{\"keys\":[ ]}", "{\"keys\":[],\"a\":{}}"] {
            assert_eq!(good(Format::Json, body), Vec::<String>::new());
        }
    }

    #[test]
    fn a_row_that_is_bad_inside_hides_no_other() {
        let long = format!("[{{\"a\":1}},{{bad}},{{\"x\":\"{}\"}},{{\"b\":tru}},{{}}]", "y".repeat(80));
        let rows = good(Format::Json, &long);
        assert_eq!(rows, ["{\"a\":1}", "{bad}", "(too long)", "{\"b\":tru}", "{}"]);
        // One whose brackets do not match takes others with it, and the end says so.
        assert_eq!(broken("[{},{\"c\":[1},{}]").0.len(), 2);
    }

    #[test]
    fn what_breaks_the_document_is_told_with_everything_before_it() {
        for (body, rows, why) in [
            ("[{},{\"a\":", 1, "ends before it is whole"),
            ("[{},", 1, "ends before it is whole"),
            ("[{}", 1, "ends before it is whole"),
            ("{\"keys\":[{}]", 1, "ends before it is whole"),
            ("", 0, "ends before it is whole"),
            ("[{} {}]", 1, "not followed by a comma"),
            ("[{},,{}]", 1, "between two commas"),
            ("[{},]", 1, "between two commas"),
            ("[{}]]", 1, "something follows"),
            ("{}", 0, "no array \"keys\""),
            ("{\"other\":[1]}", 0, "no array \"keys\""),
            ("{\"keys\":{}}", 0, "no array"),
            ("{\"keys\":[1],\"keys\":[2]}", 1, "twice"),
            ("{keys:[]}", 0, "name is missing"),
            ("{\"a\" 1}", 0, "colon"),
            ("\u{feff}[]", 0, "neither an array nor an object"),
            ("17", 0, "neither an array nor an object"),
        ] {
            let (found, said) = broken(body);
            assert_eq!(found.len(), rows, "{body}");
            assert!(said.contains(why), "{body}: {said}");
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            "[\\[\\]{}\",:\\\\a\u{e4} \n]{0,8}".prop_map(Value::String),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                prop::collection::btree_map("[a\"\\\\\\]}]{0,3}", inner, 0..3)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn as_serde_reads_it_however_it_is_cut(rows in prop::collection::vec(values(), 0..6), piece in 1..9usize, is_pretty in any::<bool>()) {
            let expected: Vec<Value> = rows.clone();
            let bare = json!(rows);
            let wrapped = json!({"a": [1, {"keys": []}], "keys": rows, "z": "]"});
            for document in [bare, wrapped] {
                let text = if is_pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) }.unwrap();
                let mut splitter = Splitter::new(Format::Json, 1 << 16);
                let mut found = Vec::new();
                for piece in text.as_bytes().chunks(piece) {
                    splitter.push(piece, &mut found).unwrap();
                }
                prop_assert_eq!(splitter.finish().unwrap(), None);
                let found: Vec<Value> = texts(found).iter().map(|text| serde_json::from_str(text).unwrap()).collect();
                prop_assert_eq!(&found, &expected);
            }
            let mut lines: String = expected.iter().flat_map(|row| [row.to_string(), "\n".to_owned()]).collect();
            let found = texts(split_long(Format::Lines, lines.as_bytes(), piece));
            prop_assert_eq!(found.len(), expected.len());
            // The last line needs no end.
            lines.pop();
            prop_assert_eq!(texts(split_long(Format::Lines, lines.as_bytes(), piece)), found);
        }

        #[test]
        fn any_bytes_are_rows_or_broken_and_memory_is_bounded(body in prop::collection::vec(prop_oneof![Just(b'['), Just(b'{'), Just(b'"'), Just(b','), Just(b']'), Just(b'}'), Just(b'\\'), any::<u8>()], 0..400), piece in 1..50usize) {
            for format in [Format::Lines, Format::Json] {
                let mut splitter = Splitter::new(format, 64);
                let mut rows = Vec::new();
                for piece in body.chunks(piece) {
                    if splitter.push(piece, &mut rows).is_err() {
                        break;
                    }
                    prop_assert!(splitter.row.len() <= LONGEST_NAME);
                }
                prop_assert!(rows.iter().all(|row| matches!(row, RawRow::TooLong) || matches!(row, RawRow::Whole(bytes) if bytes.len() <= 64)));
            }
        }
    }

    fn split_long(format: Format, body: &[u8], piece: usize) -> Vec<RawRow> {
        let mut splitter = Splitter::new(format, 1 << 16);
        let mut rows = Vec::new();
        for piece in body.chunks(piece) {
            splitter.push(piece, &mut rows).unwrap();
        }
        rows.extend(splitter.finish().unwrap());
        rows
    }
}
