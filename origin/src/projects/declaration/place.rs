//! Where a fault is: found while the rules walk a declaration, and turned into the line of the text it was read from. It may not
//! judge anything.

use std::fmt::Write as _;

use toml::de::{DeTable, DeValue};

use super::{DeclarationFault, DeclarationFaults};

/// A step from a value to one that is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A member of an object.
    Member(&'static str),
    /// An element of a list.
    Element(usize),
}

/// `/project/0/slug` (RFC 6901). No name of ours has a character that must be escaped.
pub(super) fn pointer(steps: &[Step]) -> String {
    let mut out = String::new();
    for step in steps {
        // Writing to a string cannot fail.
        let _ = match step {
            Step::Member(name) => write!(out, "/{name}"),
            Step::Element(index) => write!(out, "/{index}"),
        };
    }
    out
}

/// `project.slug`: the names alone.
pub(super) fn field(steps: &[Step]) -> String {
    let names: Vec<&str> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Member(name) => Some(*name),
            Step::Element(_) => None,
        })
        .collect();
    names.join(".")
}

/// The line of a byte, counted from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// Adds the lines, and puts the faults in their order.
pub(super) fn with_lines(text: &str, DeclarationFaults(mut faults): DeclarationFaults) -> DeclarationFaults {
    if let Ok(document) = DeTable::parse(text) {
        for fault in &mut faults {
            fault.line = Some(line_of(text, start_of(document.get_ref(), &fault.pointer)));
        }
    }
    faults.sort_by_key(|fault: &DeclarationFault| fault.line);
    DeclarationFaults(faults)
}

/// Where the value at `pointer` begins, or the innermost one around it that is written down.
fn start_of(document: &DeTable<'_>, pointer: &str) -> usize {
    let mut steps = pointer.split('/').skip(1);
    let Some(mut value) = steps.next().and_then(|name| document.get(name)) else { return 0 };
    for step in steps {
        let inner = match value.get_ref() {
            DeValue::Table(table) => table.get(step),
            DeValue::Array(list) => step.parse().ok().and_then(|index: usize| list.get(index)),
            _ => None,
        };
        let Some(inner) = inner else { break };
        value = inner;
    }
    value.span().start
}
