//! Tables of our own as messages: descriptions and rows, in the formats that a Bind asked for.

use bytes::BytesMut;

use crate::protocol::to_client;
use crate::status::{Column, Table};

/// RowDescription.
pub fn describe(out: &mut BytesMut, columns: &[Column], formats: &[i16]) {
    let columns: Vec<to_client::Column<'_>> = columns
        .iter()
        .enumerate()
        .map(|(i, c)| to_client::Column {
            name: c.name,
            type_oid: c.kind.type_oid(),
            type_size: c.kind.type_size(),
            format: i16::from(is_binary(formats, i)),
        })
        .collect();
    to_client::row_description(out, &columns);
}

/// One DataRow for each row of the table.
pub fn rows(out: &mut BytesMut, table: &Table, formats: &[i16]) {
    for row in &table.rows {
        let fields: Vec<Option<Vec<u8>>> = row
            .iter()
            .zip(table.columns)
            .enumerate()
            .map(|(i, (field, column))| {
                let text = field.as_deref()?;
                if is_binary(formats, i) {
                    column.kind.binary(text)
                } else {
                    Some(text.as_bytes().to_vec())
                }
            })
            .collect();
        to_client::data_row(out, &fields);
    }
}

/// One format code holds for all columns, none means text.
fn is_binary(formats: &[i16], column: usize) -> bool {
    match formats {
        [] => false,
        [all] => *all == 1,
        each => each.get(column) == Some(&1),
    }
}

/// What a Bind says after its names, as far as our own answers need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// How many parameter values it has.
    pub values: usize,
    /// In which formats it wants the columns.
    pub formats: Vec<i16>,
}

/// Reads a Bind from after its names (PostgreSQL docs, 55.7); `None` when it is malformed.
#[must_use]
pub fn bound(mut rest: &[u8]) -> Option<Bound> {
    let formats = take_count(&mut rest)?;
    rest = rest.get(formats * 2..)?;
    let values = take_count(&mut rest)?;
    for _ in 0..values {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        rest = after.get(length..)?;
    }
    let count = take_count(&mut rest)?;
    let (codes, _) = rest.as_chunks::<2>();
    let formats = codes
        .iter()
        .take(count)
        .map(|c| i16::from_be_bytes(*c))
        .collect();
    Some(Bound { values, formats })
}

fn take_count(rest: &mut &[u8]) -> Option<usize> {
    let (count, after) = rest.split_first_chunk::<2>()?;
    *rest = after;
    Some(usize::from(u16::from_be_bytes(*count)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_formats_are_read_past_the_parameters() {
        let bind = [
            0, 1, 0, 1, 0, 2, 0, 0, 0, 3, 1, 2, 3, 255, 255, 255, 255, 0, 2, 0, 1, 0, 0,
        ];
        let formats = vec![1, 0];
        assert_eq!(bound(&bind), Some(Bound { values: 2, formats }));
        assert_eq!(bound(&bind[..9]), None);
    }
}
