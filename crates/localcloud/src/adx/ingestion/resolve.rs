//! The mapping that a table's rows are read by, whichever way they come: given in the request, named by it, or the
//! columns' own names and places; with what the table's encoding policies allow.

use super::convert::VALUE_CAP;
use super::failure::Failure;
use super::mapping::Mapping;
use super::rows::Format;
use crate::adx::database::Entry;
use crate::kql::Column;
use serde_json::Value as Json;

/// Why there is no mapping.
#[derive(Debug)]
pub enum Missing {
    /// The table has none of that name and kind.
    Reference(String),
    /// It does not fit the table.
    Invalid(Failure),
}

/// The mapping for rows of `format`: `inline`, or the one that `reference` names, or none.
pub fn mapping_for(
    entry: &Entry,
    format: Format,
    inline: Option<&str>,
    reference: Option<&str>,
) -> Result<Mapping, Missing> {
    let columns = entry.data.columns();
    let mut mapping = match (inline, reference) {
        (Some(text), _) => Mapping::parse(text, columns).map_err(Missing::Invalid)?,
        (None, Some(name)) => {
            let held = entry.mappings(format.mapping_kind()).get(name);
            let text = held.ok_or_else(|| Missing::Reference(name.to_owned()))?;
            Mapping::parse(text, columns).map_err(Missing::Invalid)?
        }
        (None, None) => Mapping::identity(columns, format == Format::Csv),
    };
    for (index, column) in columns.iter().enumerate() {
        if let Some(cap) = encoding_cap(entry, column) {
            mapping.allow(index, cap);
        }
    }
    Ok(mapping)
}

/// The most bytes of a value of a column by its encoding policy: the policy `encoding/<column>`, or `encoding` for
/// all columns, with a profile or a `MaxValueSize`.
fn encoding_cap(entry: &Entry, column: &Column) -> Option<usize> {
    let own = entry.policies.get(&format!("encoding/{}", column.name));
    let text = own.or_else(|| entry.policies.get("encoding"))?;
    let size = serde_json::from_str::<Json>(text).ok().and_then(|policy| policy.get("MaxValueSize")?.as_u64());
    if let Some(size) = size {
        return usize::try_from(size).ok();
    }
    if text.contains("BigObject32") {
        Some(32 * VALUE_CAP)
    } else {
        text.contains("BigObject").then_some(2 * VALUE_CAP)
    }
}
