//! What tables are made of: `.show table T extents` and `details`.

use super::cursor::Cursor;
use super::{Command, Error, ResultTable};
use crate::adx::database::{Database, Entry};
use crate::adx::table::ExtentInfo;
use crate::kql::{Type, Value};

const COLUMNS: [(&str, Type); 16] = [
    ("ExtentId", Type::Guid),
    ("DatabaseName", Type::String),
    ("TableName", Type::String),
    ("MaxCreatedOn", Type::Datetime),
    ("OriginalSize", Type::Real),
    ("ExtentSize", Type::Real),
    ("CompressedSize", Type::Real),
    ("IndexSize", Type::Real),
    ("Blocks", Type::Long),
    ("Segments", Type::Long),
    ("ExtentContainerId", Type::String),
    ("RowCount", Type::Long),
    ("MinCreatedOn", Type::Datetime),
    ("Tags", Type::String),
    ("Kind", Type::String),
    ("DeletedRowCount", Type::Long),
];

const DETAILS: [(&str, Type); 14] = [
    ("TableName", Type::String),
    ("DatabaseName", Type::String),
    ("Folder", Type::String),
    ("DocString", Type::String),
    ("TotalExtents", Type::Long),
    ("TotalExtentSize", Type::Real),
    ("TotalOriginalSize", Type::Real),
    ("TotalRowCount", Type::Long),
    ("HotExtents", Type::Long),
    ("HotExtentSize", Type::Real),
    ("HotOriginalSize", Type::Real),
    ("HotRowCount", Type::Long),
    ("MinExtentsCreationTime", Type::Datetime),
    ("MaxExtentsCreationTime", Type::Datetime),
];

/// `tags [!]has|contains "…"`
struct Condition {
    negated: bool,
    whole: bool,
    text: String,
}

impl Condition {
    /// `has` compares whole tags, `contains` looks into them, both in any case.
    fn holds(&self, extent: &ExtentInfo) -> bool {
        let wanted = self.text.to_lowercase();
        let found = extent.tags.iter().map(|tag| tag.to_lowercase()).any(|tag| match self.whole {
            true => tag == wanted,
            false => tag.contains(&wanted),
        });
        found != self.negated
    }
}

/// `extents [hot] [where tags … [and tags …]]` after `.show table T`.
pub(super) fn parse_show<'a>(cursor: &mut Cursor<'a>, name: String) -> Result<Command<'a>, Error> {
    cursor.expect("extents")?;
    cursor.eat("hot")?;
    let mut conditions = Vec::new();
    if cursor.eat("where")? {
        loop {
            cursor.expect("tags")?;
            let (negated, whole) = match cursor.peek_word()?.unwrap_or_default() {
                "has" => (false, true),
                "!has" => (true, true),
                "contains" => (false, false),
                "!contains" => (true, false),
                _ => return Err(cursor.unexpected("'has' or 'contains'")),
            };
            cursor.word()?;
            conditions.push(Condition { negated, whole, text: cursor.string()? });
            if !cursor.eat("and")? {
                break;
            }
        }
    }
    Ok(Command::show(move |context| {
        let content = context.database.read();
        let entry = content.tables.get(&name).ok_or_else(|| Error::not_found("Table", &name))?;
        let extents = entry.data.extents().into_iter();
        let shown = extents.filter(|extent| conditions.iter().all(|condition| condition.holds(extent)));
        let rows = shown.map(|extent| row(context.database.name(), &name, &extent));
        Ok(ResultTable::new(&COLUMNS, rows.collect()))
    }))
}

fn row(database: &str, table: &str, extent: &ExtentInfo) -> Vec<Value> {
    let size = extent.original_size as f64;
    // Tags are separated by line ends.
    let tags = extent.tags.join("\r\n");
    vec![
        Value::Guid(extent.id),
        Value::text(database),
        Value::text(table),
        Value::Datetime(extent.created),
        Value::Real(size),
        Value::Real(size),
        Value::Real(size),
        Value::Real(0.0),
        Value::Long(1),
        Value::Long(1),
        Value::text(""),
        Value::Long(extent.rows as i64),
        Value::Datetime(extent.created),
        Value::text(tags),
        Value::text("Extent"),
        Value::Long(0),
    ]
}

/// `.show table T details`, `.show tables details`.
pub(super) fn details<'a>(database: &Database, tables: impl Iterator<Item = (&'a String, &'a Entry)>) -> ResultTable {
    let rows = tables.map(|(name, entry)| {
        let extents = entry.data.extents();
        let count = Value::Long(extents.len() as i64);
        let size = Value::Real(extents.iter().map(|extent| extent.original_size).sum::<u64>() as f64);
        let total = Value::Long(extents.iter().map(|extent| extent.rows).sum::<u64>() as i64);
        let time = |ticks: Option<i64>| ticks.map_or(Value::Null, Value::Datetime);
        let mut row = super::texts([name.as_str(), database.name(), &entry.folder, &entry.docstring]);
        for _ in ["total", "hot"] {
            row.extend([count.clone(), size.clone(), size.clone(), total.clone()]);
        }
        row.push(time(extents.iter().map(|extent| extent.created).min()));
        row.push(time(extents.iter().map(|extent| extent.created).max()));
        row
    });
    ResultTable::new(&DETAILS, rows.collect())
}
