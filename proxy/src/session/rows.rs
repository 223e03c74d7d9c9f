//! Tables of our own as messages: descriptions and rows, in the formats that a Bind asked for.

use bytes::BytesMut;

use crate::protocol::to_client;
use crate::router;
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

/// The values of the parameters in a Bind, from after its names; `None` when it is malformed.
pub(super) fn bound_values(mut rest: &[u8]) -> Option<Vec<router::Bound>> {
    let count = take_count(&mut rest)?;
    let (codes, _) = rest.get(..count * 2)?.as_chunks::<2>();
    rest = rest.get(count * 2..)?;
    let binary = |at: usize| match codes {
        [] => false,
        [all] => *all == [0, 1],
        each => each.get(at) == Some(&[0, 1]),
    };
    let mut values = Vec::new();
    for at in 0..take_count(&mut rest)? {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(i32::from_be_bytes(*length)).ok();
        values.push(router::Bound {
            value: match length {
                Some(length) => Some(after.get(..length)?.to_vec()),
                None => None,
            },
            binary: binary(at),
        });
        rest = after.get(length.unwrap_or(0)..)?;
    }
    Some(values)
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
        let values = bound_values(&bind).unwrap();
        assert_eq!(values[0].value.as_deref(), Some(&[1, 2, 3][..]));
        assert_eq!((&values[1].value, values[1].binary), (&None, true));
        assert_eq!(bound_values(&bind[..9]), None);
        let formats = vec![1, 0];
        assert_eq!(bound(&bind), Some(Bound { values: 2, formats }));
        assert_eq!(bound(&bind[..9]), None);
    }
}
